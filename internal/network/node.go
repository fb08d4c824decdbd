package network

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// Revision is one way of carrying packets that a node must be able to receive.
type Revision struct {
	ID      string
	Backend Backend
	// MTU is the configured MTU in bytes; 0 means the underlay's minus the backend's overhead.
	MTU       int
	Interface InterfaceSelection
}

// NodeSubnet is one subnet of the node itself.
type NodeSubnet struct {
	Prefix   netip.Prefix
	Draining bool
}

// Masquerade says which packets leave with the node's address.
type Masquerade struct {
	Enabled     bool
	Except      []netip.Prefix
	RandomFully bool
	// NodePortMark is kube-proxy's masquerade mark, for example 0x4000.
	NodePortMark uint32
}

// CNI says how pods are plugged in.
type CNI struct {
	Bridge       string
	Hairpin      bool
	PortMappings bool
	Conflist     bool // hopsack writes it
	Plugins      []v1alpha1.ChainedPlugin
}

// Node is a NodeNetwork's spec, parsed: all an agent must know besides the leases of its peers.
type Node struct {
	Name        string
	UID         string
	Generation  int64
	InternalIPs []netip.Addr
	PublicIPs   []netip.Addr
	// Subnets are the bound ones, in the controller's order; intended ones are left out.
	Subnets     []NodeSubnet
	PodNetworks []netip.Prefix
	VTEP        MAC
	Revisions   []Revision
	// Transmit is the revision to send with; nil while there is none.
	Transmit   *Revision
	Retention  time.Duration
	Masquerade Masquerade
	CNI        CNI
	Teardown   bool
	// Check is the request for a check that was made last, "" for none.
	Check string
}

// NodeFromAPI parses a NodeNetwork. Errors name the field.
func NodeFromAPI(n *v1alpha1.NodeNetwork) (Node, error) {
	out := Node{
		Name: n.Name, UID: n.Spec.NodeUID, Generation: n.Generation,
		Retention: time.Duration(n.Spec.RetentionSeconds) * time.Second,
		Teardown:  n.Spec.Teardown == v1alpha1.TeardownRequested,
		CNI:       cniFromAPI(n.Spec.CNI),
		Check:     n.Spec.Check,
	}
	var err error
	if out.InternalIPs, err = ParseAddrs(n.Spec.InternalIPs); err != nil {
		return Node{}, fmt.Errorf("spec.internalIPs%w", err)
	}
	if out.PublicIPs, err = ParseAddrs(n.Spec.PublicIPs); err != nil {
		return Node{}, fmt.Errorf("spec.publicIPs%w", err)
	}
	for i, c := range n.Spec.PodNetworks {
		p, err := ParsePrefix(c)
		if err != nil {
			return Node{}, fmt.Errorf("spec.podNetworks[%d]: %w", i, err)
		}
		out.PodNetworks = append(out.PodNetworks, p)
	}
	if out.Subnets, err = nodeSubnets(n.Spec.Subnets); err != nil {
		return Node{}, err
	}
	if s := n.Spec.VTEPMAC; s != "" {
		if out.VTEP, err = ParseMAC(s); err != nil {
			return Node{}, fmt.Errorf("spec.vtepMAC: %w", err)
		}
	}
	if out.Masquerade, err = masqueradeFromAPI(n.Spec.IPMasq); err != nil {
		return Node{}, fmt.Errorf("spec.ipMasq.%w", err)
	}
	return out, out.setRevisions(n.Spec)
}

// setRevisions parses the revisions and finds the one to send with.
func (n *Node) setRevisions(spec v1alpha1.NodeNetworkSpec) error {
	for i, r := range spec.Revisions {
		rev := Revision{ID: r.ID, MTU: int(r.MTU)}
		var err error
		if rev.Backend, err = BackendFromAPI(r.Backend); err != nil {
			return fmt.Errorf("spec.revisions[%d].backend.%w", i, err)
		}
		if rev.Interface, err = InterfaceSelectionFromAPI(r.Interface); err != nil {
			return fmt.Errorf("spec.revisions[%d].interface.%w", i, err)
		}
		n.Revisions = append(n.Revisions, rev)
	}
	for i := range n.Revisions {
		if n.Revisions[i].ID == spec.Transmit {
			n.Transmit = &n.Revisions[i]
		}
	}
	if n.Transmit == nil && spec.Transmit != "" {
		return fmt.Errorf("spec.transmit: %q is not among spec.revisions", spec.Transmit)
	}
	return nil
}

func nodeSubnets(in []v1alpha1.NodeSubnet) ([]NodeSubnet, error) {
	var out []NodeSubnet
	for i, s := range in {
		p, err := ParsePrefix(s.Subnet)
		if err != nil {
			return nil, fmt.Errorf("spec.subnets[%d].subnet: %w", i, err)
		}
		switch s.State {
		case v1alpha1.SubnetIntended:
		case v1alpha1.SubnetBound, v1alpha1.SubnetDraining:
			out = append(out, NodeSubnet{Prefix: p, Draining: s.State == v1alpha1.SubnetDraining})
		default:
			return nil, fmt.Errorf("spec.subnets[%d].state: %q is not one of Intended, Bound, Draining", i, s.State)
		}
	}
	return out, nil
}

// DefaultNodePortBit is kube-proxy's iptables.masqueradeBit where nobody changed it.
const DefaultNodePortBit = 14

func masqueradeFromAPI(m v1alpha1.IPMasq) (Masquerade, error) {
	out := Masquerade{
		Enabled:      m.Mode != v1alpha1.Disabled,
		RandomFully:  m.RandomFully == v1alpha1.Enabled,
		NodePortMark: 1 << DefaultNodePortBit,
	}
	if b := m.KubeProxyMasqueradeBit; b != nil {
		if *b < 0 || *b > 31 {
			return Masquerade{}, fmt.Errorf("kubeProxyMasqueradeBit: %d is not between 0 and 31", *b)
		}
		out.NodePortMark = 1 << *b
	}
	for i, c := range m.NonMasqueradeCIDRs {
		p, err := ParsePrefix(c)
		if err != nil {
			return Masquerade{}, fmt.Errorf("nonMasqueradeCIDRs[%d]: %w", i, err)
		}
		out.Except = append(out.Except, p)
	}
	return out, nil
}

// DefaultBridge is the bridge's name where nobody chose one.
const DefaultBridge = "cni0"

func cniFromAPI(c v1alpha1.CNISettings) CNI {
	out := CNI{
		Bridge:       c.Bridge,
		Hairpin:      c.HairpinMode != v1alpha1.Disabled,
		PortMappings: c.PortMappings != v1alpha1.Disabled,
		Conflist:     c.Conflist != v1alpha1.Disabled,
		Plugins:      c.Plugins,
	}
	if out.Bridge == "" {
		out.Bridge = DefaultBridge
	}
	return out
}

// StableSubnet is the first subnet that is not draining: its gateway address is the node's own address towards pods. It is
// invalid while the node has none.
func (n Node) StableSubnet() netip.Prefix {
	for _, s := range n.Subnets {
		if !s.Draining {
			return s.Prefix
		}
	}
	return netip.Prefix{}
}

// Gateway is the first host address of a subnet: the bridge's address in it.
func Gateway(subnet netip.Prefix) netip.Addr { return subnet.Addr().Next() }
