package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"github.com/hopsack-net/hopsack/internal/network"
)

// cniNode is a node on which pods are plugged in by CNI plugins, as a container runtime does.
type cniNode struct {
	*node
	plugins string
	stderr  bytes.Buffer
}

func newCNINode(index int, backend network.Backend) (*cniNode, error) {
	plain, err := newNode(index, backend)
	if err != nil {
		return nil, err
	}
	n := &cniNode{node: plain}
	n.plugins, err = linkPlugins(n.dir)
	return n, err
}

// plain makes the node one without hopsack: a route to the pods of the node with the index peer, no packet filter.
func (n *cniNode) plain(peer int) (*libcni.NetworkConfigList, error) {
	err := n.do(func() error {
		for _, file := range []string{"/proc/sys/net/bridge/bridge-nf-call-iptables", "/proc/sys/net/bridge/bridge-nf-call-ip6tables"} {
			if err := os.WriteFile(file, []byte("0"), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		subnet := nodeSubnet(peer)
		return netlink.RouteAdd(&netlink.Route{
			Dst: &net.IPNet{IP: subnet.Addr().AsSlice(), Mask: net.CIDRMask(subnet.Bits(), 32)}, Gw: nodeAddr(peer).AsSlice(),
		})
	})
	if err != nil {
		return nil, fmt.Errorf("route to node %d: %w", peer, err)
	}
	return n.bareConflist(underlayMTU, false)
}

// linkPlugins makes a directory of plugins as it is on a node, of what `make build` has built.
func linkPlugins(dir string) (string, error) {
	plugins := filepath.Join(dir, "plugins")
	if err := os.Mkdir(plugins, 0o755); err != nil {
		return "", err
	}
	for name, built := range map[string]string{
		"hopsack": "bin/hopsack-cni", "bridge": "bin/cni/bridge", "host-local": "bin/cni/host-local", "portmap": "bin/cni/portmap",
	} {
		target, err := filepath.Abs(built)
		if err != nil {
			return "", err
		}
		if _, err := os.Stat(target); err != nil {
			return "", fmt.Errorf("find the plugin %s (make build): %w", name, err)
		}
		if err := os.Symlink(target, filepath.Join(plugins, name)); err != nil {
			return "", err
		}
	}
	return plugins, nil
}

// agentConflist is the conflist that hopsack wrote on this node, with all of its plugins or only the ones named.
func (n *cniNode) agentConflist(only ...string) (*libcni.NetworkConfigList, error) {
	text, err := os.ReadFile(n.paths().Conflist)
	if err != nil {
		return nil, fmt.Errorf("read the agent's conflist: %w", err)
	}
	var list map[string]any
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("read the agent's conflist: %w", err)
	}
	plugins, _ := list["plugins"].([]any)
	var kept []any
	for _, p := range plugins {
		conf, _ := p.(map[string]any)
		name, _ := conf["type"].(string)
		if len(only) > 0 && !slices.Contains(only, name) {
			continue
		}
		if name == "hopsack" {
			conf["dataDir"] = filepath.Join(n.dir, "ipam") // each node its own: they share this process's /run
		}
		kept = append(kept, conf)
	}
	if len(kept) == 0 || len(kept) < len(only) {
		return nil, fmt.Errorf("the agent's conflist lacks plugins: want %v, got %s", only, text)
	}
	list["plugins"] = kept
	return conflist(list)
}

// bareConflist is what flannel delegates to: the bridge plugin with host-local, nothing around it.
func (n *cniNode) bareConflist(mtu int, portmap bool) (*libcni.NetworkConfigList, error) {
	plugins := []any{map[string]any{
		"type": "bridge", "bridge": network.DefaultBridge, "isGateway": true, "isDefaultGateway": true, "ipMasq": false, "hairpinMode": true,
		"mtu": mtu,
		"ipam": map[string]any{
			"type": "host-local", "dataDir": filepath.Join(n.dir, "ipam"),
			"ranges": [][]any{{map[string]any{"subnet": nodeSubnet(n.index).String()}}},
			"routes": []any{map[string]any{"dst": podNetwork.String()}},
		},
	}}
	if portmap {
		plugins = append(plugins, map[string]any{"type": "portmap", "snat": true, "capabilities": map[string]bool{"portMappings": true}})
	}
	return conflist(map[string]any{"cniVersion": "1.0.0", "name": "bare", "plugins": plugins})
}

func conflist(content map[string]any) (*libcni.NetworkConfigList, error) {
	text, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("encode conflist: %w", err)
	}
	return libcni.ConfListFromBytes(text)
}

// pod is a sandbox.
type pod struct {
	*netNS
	name     string
	hostPort int
	addr     netip.Addr // once plugged in
}

func newPod(name string) (*pod, error) {
	ns, err := newNetNS()
	return &pod{netNS: ns, name: name}, err
}

const (
	podPort    = 8080
	clientAddr = "172.31.255.1"
)

func (p *pod) conf() *libcni.RuntimeConf {
	conf := &libcni.RuntimeConf{ContainerID: p.name, NetNS: p.path(), IfName: "eth0", Args: [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAME", p.name}}}
	if p.hostPort != 0 {
		conf.CapabilityArgs = map[string]any{"portMappings": []map[string]any{{"hostPort": p.hostPort, "containerPort": podPort, "protocol": "tcp"}}}
	}
	return conf
}

// cniWay is one conflist on one node, and the times it took.
type cniWay struct {
	name string
	*cniNode
	client     *netNS // on the node's underlay; nil for none
	list       *libcni.NetworkConfigList
	shared     bool // the node is another way's
	present    []*pod
	adds, dels sample
}

func (w *cniWay) close() {
	for _, p := range w.present {
		p.close()
	}
	if !w.shared {
		w.remove()
		if w.client != nil {
			w.client.close()
		}
	}
}

// connectClient puts a client on the node's underlay.
func (w *cniWay) connectClient() (err error) {
	if w.client, err = newNetNS(); err != nil {
		return err
	}
	return cable(w.netNS, underlayDevice, fmt.Sprintf("%s/%d", nodeAddr(w.index), underlayBits),
		w.client, "eth0", fmt.Sprintf("%s/%d", clientAddr, underlayBits))
}

// call runs one libcni call on the node. A failure carries what the plugins wrote.
func (n *cniNode) call(do func(*libcni.CNIConfig) error) error {
	n.stderr.Reset()
	exec := &invoke.DefaultExec{RawExec: &invoke.RawExec{Stderr: &n.stderr}}
	c := libcni.NewCNIConfigWithCacheDir([]string{n.plugins}, filepath.Join(n.dir, "cache"), exec)
	if err := n.do(func() error { return do(c) }); err != nil {
		return fmt.Errorf("%w %s", err, bytes.TrimSpace(n.stderr.Bytes()))
	}
	return nil
}

func (w *cniWay) add(ctx context.Context, p *pod) error {
	return w.call(func(c *libcni.CNIConfig) error {
		result, err := c.AddNetworkList(ctx, w.list, p.conf())
		if err != nil {
			return fmt.Errorf("ADD %s: %w", p.name, err)
		}
		parsed, err := current.NewResultFromResult(result)
		if err == nil && len(parsed.IPs) > 0 {
			p.addr, _ = netip.AddrFromSlice(parsed.IPs[0].Address.IP)
			p.addr = p.addr.Unmap()
		}
		return err
	})
}

func (w *cniWay) del(ctx context.Context, p *pod) error {
	return w.call(func(c *libcni.CNIConfig) error {
		if err := c.DelNetworkList(ctx, w.list, p.conf()); err != nil {
			return fmt.Errorf("DEL %s: %w", p.name, err)
		}
		return nil
	})
}

// fill plugs pods in that stay. Ways that share a node share them.
func (w *cniWay) fill(ctx context.Context, pods int) error {
	if w.shared {
		return nil
	}
	for i := range pods {
		p, err := newPod(fmt.Sprintf("%s-present-%d", w.name, i))
		if err != nil {
			return err
		}
		w.present = append(w.present, p)
		if err := errors.Join(ctx.Err(), w.add(ctx, p)); err != nil {
			return err
		}
	}
	return nil
}

// look talks to the pod: from the node directly, and from the client through the hostPort.
func (w *cniWay) look(p *pod) error {
	var listener net.Listener
	err := p.do(func() (err error) {
		listener, err = net.Listen("tcp", netip.AddrPortFrom(p.addr, podPort).String())
		return err
	})
	if err != nil {
		return fmt.Errorf("listen in pod %s: %w", p.name, err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			fmt.Fprint(conn, p.name)
			conn.Close()
		}
	}()
	if err := hear(w.netNS, net.JoinHostPort(p.addr.String(), strconv.Itoa(podPort)), p.name); err != nil {
		return fmt.Errorf("reach pod %s from its node: %w", p.name, err)
	}
	if p.hostPort == 0 {
		return nil
	}
	if err := hear(w.client, net.JoinHostPort(nodeAddr(w.index).String(), strconv.Itoa(p.hostPort)), p.name); err != nil {
		return fmt.Errorf("reach pod %s through its hostPort: %w", p.name, err)
	}
	return nil
}

// hear connects and checks who answers.
func hear(from *netNS, addr, want string) error {
	return from.do(func() error {
		conn, err := net.DialTimeout("tcp", addr, lookTimeout)
		if err != nil {
			return err
		}
		defer conn.Close()
		answer, err := io.ReadAll(conn)
		if err == nil && string(answer) != want {
			err = fmt.Errorf("%s answered %q, want %q", addr, answer, want)
		}
		return err
	})
}

// gone checks that DEL took the device away.
func (w *cniWay) gone(p *pod) error {
	return p.do(func() error {
		devices, err := net.Interfaces()
		if err == nil && len(devices) != 1 {
			err = fmt.Errorf("after DEL pod %s still has a device", p.name)
		}
		return err
	})
}
