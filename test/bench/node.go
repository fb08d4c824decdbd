package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/node-agent/dataplane"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

const (
	underlayMTU    = 1500
	underlayDevice = "eth0"
	// underlayBits leaves room for 5,000 nodes on one segment, whose network is 172.16.0.0/12.
	underlayBits = 12
)

// The cluster of all cases: node i has the subnet 10.i.i.0/24 (in two bytes), the underlay address 172.16.i.i + 1 and a VTEP
// address made of i.
var podNetwork = netip.MustParsePrefix("10.0.0.0/8")

func nodeSubnet(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)
}

func nodeAddr(i int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 172<<24|16<<16|uint32(i+1))
	return netip.AddrFrom4(b)
}

func nodeMAC(i int) network.MAC { return network.MAC{0x02, 0x68, 0x73, 0, byte(i >> 8), byte(i)} }

func lease(i int) network.Lease {
	return network.Lease{
		Subnet: nodeSubnet(i), Node: fmt.Sprintf("node-%d", i), PublicIPs: []netip.Addr{nodeAddr(i)}, VTEP: nodeMAC(i), Routable: true,
	}
}

// leases are those of the nodes from first to last.
func leases(first, last int) []network.Lease {
	var out []network.Lease
	for i := first; i <= last; i++ {
		out = append(out, lease(i))
	}
	return out
}

// node is a network namespace with an underlay device, and a dataplane that programs it as the agent does.
type node struct {
	*netNS
	index int
	// dir has the node's files: hand-off, conflist, subnet.env and what the dataplane keeps.
	dir       string
	backend   network.Backend
	dataplane *dataplane.Dataplane
}

// defaultBackend is what a NetworkConfig with `type: vxlan` and nothing else means.
func defaultBackend() network.Backend {
	return network.Backend{
		Type: v1alpha1.BackendVXLAN, VNI: network.DefaultVNI, Port: network.DefaultVXLANPort, DirectRouting: v1alpha1.DirectRoutingNever,
	}
}

// newNode makes a node without an underlay device.
func newNode(index int, backend network.Backend) (*node, error) {
	ns, err := newNetNS()
	if err != nil {
		return nil, err
	}
	n := &node{netNS: ns, index: index, backend: backend}
	if n.dir, err = os.MkdirTemp("/run", "node-"); err != nil {
		return nil, err
	}
	return n, nil
}

// stubUnderlay gives the node an underlay device behind which there is nobody.
func (n *node) stubUnderlay() error {
	return cable(n.netNS, underlayDevice, fmt.Sprintf("%s/%d", nodeAddr(n.index), underlayBits), n.netNS, "nobody", "")
}

// remove forgets the node and everything on it.
func (n *node) remove() {
	n.close()
	_ = os.RemoveAll(n.dir) // on a tmpfs of this process
}

func (n *node) paths() desired.Paths {
	return desired.Paths{
		Handoff: filepath.Join(n.dir, "cni.json"), Conflist: filepath.Join(n.dir, "05-hopsack.conflist"), SubnetEnv: filepath.Join(n.dir, "subnet.env"),
	}
}

// input is what the agent would hand to desired.Compute.
func (n *node) input(peers []network.Lease) desired.Input {
	in := desired.Input{
		Node: network.Node{
			Name: fmt.Sprintf("node-%d", n.index), InternalIPs: []netip.Addr{nodeAddr(n.index)},
			Subnets:     []network.NodeSubnet{{Prefix: nodeSubnet(n.index)}},
			PodNetworks: []netip.Prefix{podNetwork},
			VTEP:        nodeMAC(n.index),
			Revisions:   []network.Revision{{ID: "bench", Backend: n.backend}},
			Masquerade:  network.Masquerade{Enabled: true, NodePortMark: 1 << network.DefaultNodePortBit},
			CNI:         network.CNI{Bridge: network.DefaultBridge, Hairpin: true, PortMappings: true, Conflist: true},
		},
		Peers: peers,
		Facts: desired.Facts{
			Underlay: desired.Underlay{Name: underlayDevice, Addrs: []netip.Addr{nodeAddr(n.index)}, MTU: underlayMTU},
			OnLink:   []netip.Prefix{netip.PrefixFrom(nodeAddr(n.index), underlayBits).Masked()},
		},
		Paths: n.paths(),
	}
	in.Node.Transmit = &in.Node.Revisions[0]
	return in
}

// compute is desired.Compute without problems.
func (n *node) compute(peers []network.Lease) (desired.State, error) {
	state, problems := desired.Compute(n.input(peers))
	if len(problems) > 0 {
		return state, fmt.Errorf("compute the desired state: %v", problems)
	}
	return state, nil
}

// sync is one pass of the agent's dataplane, which is opened at the first. It must be called inside the node's namespace.
func (n *node) sync(ctx context.Context, want desired.State, full bool) (dataplane.Changes, error) {
	if n.dataplane == nil {
		dp, err := dataplane.New(dataplane.Options{StateDir: filepath.Join(n.dir, "state")})
		if err != nil {
			return nil, err
		}
		n.dataplane = dp
	}
	report, err := n.dataplane.Sync(ctx, want, full)
	if err == nil && len(report.Problems) > 0 {
		err = fmt.Errorf("program the node: %v", report.Problems)
	}
	return report.Changes, err
}

// program brings the node to the state for these peers.
func (n *node) program(ctx context.Context, peers []network.Lease) error {
	want, err := n.compute(peers)
	if err != nil {
		return err
	}
	return n.do(func() error {
		_, err := n.sync(ctx, want, true)
		return err
	})
}
