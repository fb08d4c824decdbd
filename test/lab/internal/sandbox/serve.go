package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/hopsack-net/hopsack/test/lab/internal/ns"
)

const (
	confDir   = "/etc/cni/net.d"
	pluginDir = "/opt/cni/bin"
	cacheDir  = "/var/lib/cni"
)

// loopbackList is the network that containerd adds to every pod by itself.
const loopbackList = `{"cniVersion":"1.0.0","name":"cni-loopback","plugins":[{"type":"loopback"}]}`

// errNoNetwork is returned while the node has no CNI configuration.
var errNoNetwork = errors.New("no CNI configuration in " + confDir + ": the node has no pod network yet")

// Serve reads one Request from in, carries it out in the caller's namespaces and writes the Reply to out. The error is
// only for a request that could not be read or an answer that could not be written.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	var req Request
	if err := json.NewDecoder(in).Decode(&req); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	s := server{cni: libcni.NewCNIConfigWithCacheDir([]string{pluginDir}, cacheDir, nil), req: req}
	reply, err := s.do(ctx)
	if err != nil {
		reply = Reply{Network: reply.Network, Error: err.Error(), Retry: retriable(err)}
	}
	return json.NewEncoder(out).Encode(reply)
}

type server struct {
	cni *libcni.CNIConfig
	req Request
}

func (s server) do(ctx context.Context) (Reply, error) {
	switch s.req.Op {
	case OpAdd:
		return s.add(ctx)
	case OpDel:
		return s.del(ctx)
	case OpCheck:
		return s.check(ctx)
	}
	return Reply{}, fmt.Errorf("unknown operation %q", s.req.Op)
}

func (s server) add(ctx context.Context) (Reply, error) {
	list, err := firstConfig()
	if err != nil {
		return Reply{}, err
	}
	reply := Reply{Network: list.Name}
	// The kubelet starts no pod before STATUS says that the network is there.
	if err := s.cni.GetStatusNetworkList(ctx, list); err != nil {
		return reply, fmt.Errorf("status of network %s: %w", list.Name, err)
	}
	if err := ns.Create(NetNS(s.req.Name)); err != nil {
		return reply, err
	}
	result, err := s.attach(ctx, list)
	if err != nil {
		return reply, errors.Join(err, s.detach(ctx, list))
	}
	return describe(reply, result)
}

// attach adds the loopback, then the pod network, and returns the latter's result.
func (s server) attach(ctx context.Context, list *libcni.NetworkConfigList) (types.Result, error) {
	loopback, err := libcni.NetworkConfFromBytes([]byte(loopbackList))
	if err != nil {
		return nil, err
	}
	if _, err := s.cni.AddNetworkList(ctx, loopback, s.runtime("lo")); err != nil {
		return nil, fmt.Errorf("add loopback: %w", err)
	}
	result, err := s.cni.AddNetworkList(ctx, list, s.runtime("eth0"))
	if err != nil {
		return nil, fmt.Errorf("add network %s: %w", list.Name, err)
	}
	return result, nil
}

// del takes the pod off the network it was added to, which the cache knows although the configuration may have changed.
func (s server) del(ctx context.Context) (Reply, error) {
	list, err := s.cachedConfig()
	if err != nil {
		return Reply{}, err
	}
	if list == nil {
		return Reply{}, ns.Delete(NetNS(s.req.Name))
	}
	return Reply{Network: list.Name}, s.detach(ctx, list)
}

func (s server) detach(ctx context.Context, list *libcni.NetworkConfigList) error {
	if err := s.cni.DelNetworkList(ctx, list, s.runtime("eth0")); err != nil {
		return fmt.Errorf("delete network %s: %w", list.Name, err)
	}
	loopback, err := libcni.NetworkConfFromBytes([]byte(loopbackList))
	if err != nil {
		return err
	}
	if err := s.cni.DelNetworkList(ctx, loopback, s.runtime("lo")); err != nil {
		return fmt.Errorf("delete loopback: %w", err)
	}
	return ns.Delete(NetNS(s.req.Name))
}

func (s server) check(ctx context.Context) (Reply, error) {
	list, err := s.cachedConfig()
	if err != nil {
		return Reply{}, err
	}
	if list == nil {
		return Reply{}, fmt.Errorf("pod %s was never added", s.req.Name)
	}
	if err := s.cni.CheckNetworkList(ctx, list, s.runtime("eth0")); err != nil {
		return Reply{Network: list.Name}, fmt.Errorf("check network %s: %w", list.Name, err)
	}
	return Reply{Network: list.Name}, nil
}

// cachedConfig returns the configuration eth0 was added with; nil when it was not added.
func (s server) cachedConfig() (*libcni.NetworkConfigList, error) {
	attachments, err := s.cni.GetCachedAttachments(s.req.ContainerID)
	if err != nil {
		return nil, fmt.Errorf("read CNI cache: %w", err)
	}
	for _, a := range attachments {
		if a.IfName == "eth0" {
			return libcni.NetworkConfFromBytes(a.Config)
		}
	}
	return nil, nil
}

func (s server) runtime(ifName string) *libcni.RuntimeConf {
	rt := &libcni.RuntimeConf{
		ContainerID: s.req.ContainerID,
		NetNS:       NetNS(s.req.Name),
		IfName:      ifName,
		Args: [][2]string{
			{"IgnoreUnknown", "1"},
			{"K8S_POD_NAMESPACE", s.req.Namespace},
			{"K8S_POD_NAME", s.req.Name},
			{"K8S_POD_INFRA_CONTAINER_ID", s.req.ContainerID},
		},
	}
	if len(s.req.HostPorts) > 0 && ifName != "lo" {
		rt.CapabilityArgs = map[string]any{"portMappings": s.req.HostPorts}
	}
	return rt
}

// firstConfig loads the configuration that a container runtime would choose: the lowest file name.
func firstConfig() (*libcni.NetworkConfigList, error) {
	files, err := libcni.ConfFiles(confDir, []string{".conflist", ".conf", ".json"})
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, errNoNetwork
	}
	slices.Sort(files)
	if strings.HasSuffix(files[0], ".conflist") {
		return libcni.NetworkConfFromFile(files[0])
	}
	return singlePlugin(files[0])
}

// singlePlugin reads the older format, one plugin per file, as a list of one.
func singlePlugin(path string) (*libcni.NetworkConfigList, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	plugin, err := libcni.NetworkPluginConfFromBytes(raw)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	list, err := json.Marshal(map[string]any{
		"cniVersion": plugin.Network.CNIVersion, "name": plugin.Network.Name, "plugins": []json.RawMessage{raw},
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return libcni.NetworkConfFromBytes(list)
}

func describe(reply Reply, result types.Result) (Reply, error) {
	current, err := types100.NewResultFromResult(result)
	if err != nil {
		return reply, fmt.Errorf("read CNI result: %w", err)
	}
	for _, ip := range current.IPs {
		addr, ok := netip.AddrFromSlice(ip.Address.IP)
		if !ok {
			return reply, fmt.Errorf("read CNI result: bad address %s", ip.Address.String())
		}
		reply.IPs = append(reply.IPs, addr.Unmap())
	}
	reply.Result, err = json.Marshal(current)
	return reply, err
}

// retriable says whether a kubelet would just try again: nothing is configured yet, or the plugin said so (11: try again
// later; 50 and 51: the plugin is not available, from STATUS).
func retriable(err error) bool {
	if errors.Is(err, errNoNetwork) {
		return true
	}
	var cniErr *types.Error
	return errors.As(err, &cniErr) && (cniErr.Code == types.ErrTryAgainLater || cniErr.Code == 50 || cniErr.Code == 51)
}
