package lab

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/hopsack-net/hopsack/test/lab/internal/kubeconf"
	"github.com/hopsack-net/hopsack/test/lab/internal/pki"
)

const (
	serviceCIDR    = "10.96.0.0/16"
	firstServiceIP = "10.96.0.1"
	etcdURL        = "http://127.0.0.1:2379"
	etcdPeerURL    = "http://127.0.0.1:2380"
)

// apiServerURL is where the API server answers, from every place of the lab.
func apiServerURL() string {
	return "https://" + netip.AddrPortFrom(controlPlaneAddr.Addr(), 6443).String()
}

// makePKI makes authority, certificates, signing key and the administrator's kubeconfig, once per lab.
func (c *Cluster) makePKI() error {
	dir := c.path("pki")
	if _, err := os.Stat(c.KubeconfigPath()); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	authority, err := pki.NewAuthority("hopsack-lab")
	if err != nil {
		return err
	}
	names := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	addrs := []netip.Addr{netip.MustParseAddr("127.0.0.1"), controlPlaneAddr.Addr(), netip.MustParseAddr(firstServiceIP)}
	server, err := authority.Server("kube-apiserver", names, addrs)
	if err != nil {
		return err
	}
	if err := server.Write(dir, "apiserver"); err != nil {
		return err
	}
	own, err := authority.Pair()
	if err != nil {
		return err
	}
	if err := own.Write(dir, "ca"); err != nil {
		return err
	}
	private, public, err := pki.SigningKey()
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"sa.key": private, "sa.pub": public} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	admin, err := authority.Client("lab-admin", "system:masters")
	if err != nil {
		return err
	}
	// Last: its presence says that all of it is there.
	user := &clientcmdapi.AuthInfo{ClientCertificateData: admin.Cert, ClientKeyData: admin.Key}
	return c.writeKubeconfig(c.KubeconfigPath(), user)
}

// writeKubeconfig writes a kubeconfig for the lab's API server, readable by the owner only.
func (c *Cluster) writeKubeconfig(path string, user *clientcmdapi.AuthInfo) error {
	ca, err := os.ReadFile(c.path("pki", "ca.crt"))
	if err != nil {
		return err
	}
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters["lab"] = &clientcmdapi.Cluster{Server: apiServerURL(), CertificateAuthorityData: ca}
	cfg.AuthInfos["lab"] = user
	cfg.Contexts["lab"] = &clientcmdapi.Context{Cluster: "lab", AuthInfo: "lab"}
	cfg.CurrentContext = "lab"
	if err := clientcmd.WriteToFile(*cfg, path+".tmp"); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	return os.Rename(path+".tmp", path)
}

func (c *Cluster) etcdArgs() []string {
	return []string{
		c.controlPlaneBin("etcd"),
		"--name=lab",
		"--data-dir=" + c.path("etcd"),
		// The lab's data is not worth a disk flush per write.
		"--unsafe-no-fsync",
		"--listen-client-urls=" + etcdURL,
		"--advertise-client-urls=" + etcdURL,
		"--listen-peer-urls=" + etcdPeerURL,
		"--initial-advertise-peer-urls=" + etcdPeerURL,
		"--initial-cluster=lab=" + etcdPeerURL,
		"--log-level=warn",
	}
}

func (c *Cluster) apiServerArgs(s *state) []string {
	key := func(name string) string { return c.path("pki", name) }
	args := []string{
		c.controlPlaneBin("kube-apiserver"),
		"--etcd-servers=" + etcdURL,
		"--bind-address=0.0.0.0",
		"--secure-port=6443",
		"--advertise-address=" + controlPlaneAddr.Addr().String(),
		"--service-cluster-ip-range=" + serviceCIDR,
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--client-ca-file=" + key("ca.crt"),
		"--tls-cert-file=" + key("apiserver.crt"),
		"--tls-private-key-file=" + key("apiserver.key"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + key("sa.pub"),
		"--service-account-signing-key-file=" + key("sa.key"),
		"--profiling=false",
	}
	if s.Kubelet != nil {
		args = append(args, kubeconf.APIServerArgs(c.path("pki"))...)
	}
	return args
}
