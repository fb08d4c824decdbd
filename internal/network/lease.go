package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// Lease is a subnet of a node and how peers reach it.
type Lease struct {
	Subnet netip.Prefix
	Node   string
	// PublicIPs are the node's underlay addresses, at most one per family; none while the node has published no endpoint.
	PublicIPs []netip.Addr
	VTEP      MAC
	// Routable says that peers may send to the node (condition Ready is True, whatever its reason).
	Routable bool
	// Unbound says that the controller took the lease away or never gave it: the node is gone, or the subnet overlaps another
	// lease or lies outside the network. Not being Routable alone says nothing of the kind.
	Unbound bool
}

// unboundReasons are the reasons of Ready=False after which nobody may send to the lease's node.
var unboundReasons = []string{v1alpha1.ReasonReleased, v1alpha1.ReasonOverlaps, v1alpha1.ReasonOutsideNetwork}

// LeaseName is the name of the lease of a subnet: flannel's etcd key form, such as 10.244.3.0-24.
func LeaseName(subnet netip.Prefix) string {
	return strings.NewReplacer("/", "-", ":", "-").Replace(subnet.String())
}

// LeaseFromAPI parses a SubnetLease. Other nodes' data comes through here, so nothing is taken on trust: a lease whose name
// is not its subnet, or whose endpoint is not a unicast address, is an error.
func LeaseFromAPI(l *v1alpha1.SubnetLease) (Lease, error) {
	subnet, err := ParsePrefix(l.Spec.Subnet)
	if err != nil {
		return Lease{}, fmt.Errorf("lease %s: spec.subnet: %w", l.Name, err)
	}
	if l.Name != LeaseName(subnet) {
		return Lease{}, fmt.Errorf("lease %s: metadata.name: is not %s, the name of spec.subnet %s", l.Name, LeaseName(subnet), subnet)
	}
	out := Lease{Subnet: subnet, Node: l.Spec.NodeName}
	for _, s := range []string{l.Status.PublicIP, l.Status.PublicIPv6} {
		if s == "" {
			continue
		}
		a, err := netip.ParseAddr(s)
		if err != nil || a.IsMulticast() || a.IsUnspecified() || a.IsLoopback() {
			return Lease{}, fmt.Errorf("lease %s: status.publicIP: %q is not a unicast address", l.Name, s)
		}
		out.PublicIPs = append(out.PublicIPs, a.Unmap())
	}
	if s := l.Status.BackendData.VTEPMAC; s != "" {
		if out.VTEP, err = ParseMAC(s); err != nil {
			return Lease{}, fmt.Errorf("lease %s: status.backendData.vtepMAC: %w", l.Name, err)
		}
		if !out.VTEP.IsUnicast() {
			return Lease{}, fmt.Errorf("lease %s: status.backendData.vtepMAC: %s is not a unicast address", l.Name, s)
		}
	}
	if ready := meta.FindStatusCondition(l.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
		out.Routable = ready.Status == metav1.ConditionTrue && len(out.PublicIPs) > 0
		out.Unbound = ready.Status == metav1.ConditionFalse && slices.Contains(unboundReasons, ready.Reason)
	}
	return out, nil
}

// PublicIP is the endpoint of the given family, or an invalid address.
func (l Lease) PublicIP(like netip.Addr) netip.Addr {
	for _, a := range l.PublicIPs {
		if a.Is4() == like.Is4() {
			return a
		}
	}
	return netip.Addr{}
}
