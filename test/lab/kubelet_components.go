package lab

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/hopsack-net/hopsack/test/lab/internal/kubeconf"
	"github.com/hopsack-net/hopsack/test/lab/internal/machine"
	"github.com/hopsack-net/hopsack/test/lab/internal/pki"
)

// The components that a lab with kubelets has beside etcd and the API server; those of node n1 are "containerd/n1",
// "kubelet/n1" and "kube-proxy/n1".
const (
	ControllerManager = "controller-manager"
	Scheduler         = "scheduler"
)

const (
	containerdPrefix = "containerd/"
	kubeletPrefix    = "kubelet/"
	proxyPrefix      = "kube-proxy/"
)

// Containerd is the component name of a node's container runtime.
func Containerd(node string) string { return containerdPrefix + node }

// Kubelet is the component name of a node's kubelet.
func Kubelet(node string) string { return kubeletPrefix + node }

// KubeProxy is the component name of a node's kube-proxy.
func KubeProxy(node string) string { return proxyPrefix + node }

// nodeComponents are a node's components in the order in which they start.
func (k *kubelets) nodeComponents(node string) []string {
	names := []string{Containerd(node), Kubelet(node)}
	if k.ProxyMode != ProxyNone {
		names = append(names, KubeProxy(node))
	}
	return names
}

// kubeComponent is component for what only a lab with kubelets has.
func (c *Cluster) kubeComponent(s *state, name string) (component, error) {
	conf := kubeconf.ControlPlane{
		PKI: c.path("pki"), Kubeconfig: c.Credentials(name),
		ClusterCIDR: s.Kubelet.ClusterCIDR, ServiceCIDR: serviceCIDR, AllocateNodeCIDRs: s.Kubelet.AllocateNodeCIDRs,
	}
	switch name {
	case ControllerManager:
		argv := append([]string{c.nodeBin("kube-controller-manager")}, kubeconf.ControllerManagerArgs(conf)...)
		return component{name, placeControlPlane, argv, kubeconf.ControllerManagerHealth}, nil
	case Scheduler:
		argv := append([]string{c.nodeBin("kube-scheduler")}, kubeconf.SchedulerArgs(conf)...)
		return component{name, placeControlPlane, argv, kubeconf.SchedulerHealth}, nil
	}
	kind, node, ok := strings.Cut(name, "/")
	n, known := s.node(node)
	if ok && !known {
		return component{}, fmt.Errorf("no node %s in the lab", node)
	}
	switch kind + "/" {
	case containerdPrefix:
		return component{name, node, []string{c.nodeBin("containerd"), "--config=" + c.confPath(node, "containerd.toml")}, "unix:" + kubeconf.ContainerdSocket}, nil
	case kubeletPrefix:
		args := kubeconf.KubeletArgs(node, n.Addrs(), c.confPath(node, "kubelet.json"), c.Credentials(name))
		return component{name, node, append([]string{c.nodeBin("kubelet")}, args...), kubeconf.KubeletHealth}, nil
	case proxyPrefix:
		return component{name, node, []string{c.nodeBin("kube-proxy"), "--config=" + c.confPath(node, "kube-proxy.json")}, kubeconf.ProxyHealth}, nil
	}
	return component{}, fmt.Errorf("unknown component %q: want containerd/NODE, kubelet/NODE, kube-proxy/NODE, %s, %s, %s or %s",
		name, ControllerManager, Scheduler, APIServer, ETCD)
}

// spawnCommand says how a component is started: what a node with a kubelet runs is in the node's control groups, as what its
// init would start.
func spawnCommand(comp component) string {
	for _, prefix := range []string{containerdPrefix, kubeletPrefix, proxyPrefix} {
		if strings.HasPrefix(comp.name, prefix) {
			return machine.JoinCommand
		}
	}
	return ""
}

// environOf is the environment of a component: containerd finds its helpers in PATH.
func (c *Cluster) environOf(comp component) []string {
	env := environ()
	if strings.HasPrefix(comp.name, containerdPrefix) {
		env = append(env, "PATH="+c.nodeBin("")+":"+os.Getenv("PATH"))
	}
	return env
}

func (c *Cluster) confPath(node, file string) string { return c.path("nodes", node, "conf", file) }

// writeNodeConf writes the configuration and the credentials of everything on a node.
func (c *Cluster) writeNodeConf(s *state, n Node) error {
	kubelet, err := kubeconf.Kubelet(c.path("pki", "ca.crt"), dnsAddr)
	if err != nil {
		return err
	}
	proxy, err := kubeconf.Proxy(n.Name, s.Kubelet.ProxyMode, c.Credentials(KubeProxy(n.Name)), s.Kubelet.ClusterCIDR)
	if err != nil {
		return err
	}
	spec, err := exec.Command(c.nodeBin("ctr"), "oci", "spec").Output()
	if err != nil {
		return fmt.Errorf("ask ctr for containerd's base specification: %w", err)
	}
	base, err := kubeconf.BaseSpec(spec)
	if err != nil {
		return err
	}
	const baseSpec = "base-spec.json"
	files := map[string][]byte{
		"containerd.toml": []byte(kubeconf.Containerd(c.confPath(n.Name, baseSpec))),
		baseSpec:          base,
		"kubelet.json":    kubelet,
		"kube-proxy.json": proxy,
	}
	if err := os.MkdirAll(c.confPath(n.Name, ""), 0o755); err != nil {
		return err
	}
	for name, content := range files {
		// kube-proxy ends when somebody writes its file, also when nothing changes in it.
		if have, err := os.ReadFile(c.confPath(n.Name, name)); err == nil && bytes.Equal(have, content) {
			continue
		}
		if err := os.WriteFile(c.confPath(n.Name, name), content, 0o644); err != nil {
			return err
		}
	}
	if err := c.issueCertificate(Kubelet(n.Name), "system:node:"+n.Name, "system:nodes"); err != nil {
		return err
	}
	return c.issueCertificate(KubeProxy(n.Name), "system:kube-proxy")
}

// issueCertificate writes a component's kubeconfig with a client certificate, unless it has one.
func (c *Cluster) issueCertificate(component, user string, groups ...string) error {
	path := c.Credentials(component)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	authority, err := pki.LoadAuthority(c.path("pki"), "ca")
	if err != nil {
		return err
	}
	pair, err := authority.Client(user, groups...)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return c.writeKubeconfig(path, &clientcmdapi.AuthInfo{ClientCertificateData: pair.Cert, ClientKeyData: pair.Key})
}

// makeKubePKI makes what the control plane of a lab with kubelets needs beside makePKI's.
func (c *Cluster) makeKubePKI() error {
	if _, err := os.Stat(c.path("pki", "kubelet-client.key")); err != nil {
		authority, err := pki.LoadAuthority(c.path("pki"), "ca")
		if err != nil {
			return err
		}
		// Logs and exec are refused by kubelets unless the API server's own user may ask for them.
		pair, err := authority.Client("kube-apiserver-kubelet-client", "system:masters")
		if err != nil {
			return err
		}
		if err := pair.Write(c.path("pki"), "kubelet-client"); err != nil {
			return err
		}
	}
	if err := c.issueCertificate(ControllerManager, "system:kube-controller-manager"); err != nil {
		return err
	}
	return c.issueCertificate(Scheduler, "system:kube-scheduler")
}

// socketCheck returns a function that says whether something listens on a unix socket of a machine.
func (c *Cluster) socketCheck(comp component) func(context.Context) error {
	return func(ctx context.Context) error {
		holder, err := c.procs.Load(machineRecord(comp.machine))
		if err != nil {
			return err
		}
		path := fmt.Sprintf("/proc/%d/root%s", holder.PID, strings.TrimPrefix(comp.health, "unix:"))
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}
