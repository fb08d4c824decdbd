package drift

import (
	"fmt"
	"strings"
)

// Target is the node that is broken, on which VXLAN with the default VNI and port is in use, and one of its peers.
type Target struct {
	// PeerSubnet is the peer's subnet, for example "10.244.2.0/24"; required.
	PeerSubnet string
	// PeerAddr is the peer's underlay address, for example "172.30.0.12"; required.
	PeerAddr string
	// Network is the beginning of all pod addresses, for example "10.244."; required.
	Network string
}

// Reach says whose packets between pods a Kind may cost.
type Reach string

// Reaches.
const (
	// Peer: those to and from one peer.
	Peer Reach = "peer"
	// Node: those to and from the whole node.
	Node Reach = "node"
	// None: nobody's.
	None Reach = "none"
)

// Kind is one thing that goes wrong.
type Kind struct {
	Name string
	// Break is a shell command that breaks it.
	Break string
	// Shows is a shell command that fails until all is well. It changes nothing.
	Shows string
	// Reach says whose packets may be lost until then.
	Reach Reach
	// DirectRouting says that the Kind makes sense with direct routing only.
	DirectRouting bool
}

const (
	device   = "hs1-8472"
	conflist = "/etc/cni/net.d/05-hopsack.conflist"
	env      = "/run/flannel/subnet.env"
)

// All are the kinds, in the order of the layers: routes, entries, devices, packet filter, host settings, files.
func All(t Target) []Kind {
	gateway, _, _ := strings.Cut(t.PeerSubnet, "/")
	fill := strings.NewReplacer("$SUBNET", t.PeerSubnet, "$GATEWAY", gateway, "$PEER", t.PeerAddr, "$NETWORK", t.Network, "$DEV", device)
	var out []Kind
	for _, k := range kinds() {
		k.Break, k.Shows = fill.Replace(k.Break), fill.Replace(k.Shows)
		out = append(out, k)
	}
	return out
}

// Pick returns the kinds with these names, in this order.
func Pick(all []Kind, names ...string) ([]Kind, error) {
	byName := map[string]Kind{}
	for _, k := range all {
		byName[k.Name] = k
	}
	var out []Kind
	for _, name := range names {
		k, ok := byName[name]
		if !ok {
			return nil, fmt.Errorf("no kind of drift is called %q", name)
		}
		out = append(out, k)
	}
	return out, nil
}

const (
	showRoute = "ip route show $SUBNET | grep -q 'dev $DEV.*src'"
	showFDB   = "bridge fdb show dev $DEV | grep -q 'dst $PEER '"
	showNeigh = "ip neigh show $GATEWAY dev $DEV | grep -q PERMANENT"
	showAddr  = "ip addr show $DEV | grep -q 'inet $NETWORK'"
	peerMAC   = "$(bridge fdb show dev $DEV | awk '/dst $PEER /{print $1; exit}')"
	wrongMAC  = "02:99:99:99:99:99"
)

func kinds() []Kind {
	var out []Kind
	for _, group := range [][]Kind{routes, entries, devices, filters, sysctls, files} {
		out = append(out, group...)
	}
	return out
}

var routes = []Kind{
	{Name: "peer route deleted", Break: "ip route del $SUBNET", Shows: showRoute, Reach: Peer},
	{Name: "peer route replaced", Break: "ip route replace $SUBNET via 172.30.0.1 proto 104", Shows: showRoute, Reach: Peer},
	{Name: "all routes flushed", Break: "ip route flush proto 104", Shows: showRoute + " && test $(ip route show proto 104 | wc -l) -ge 3", Reach: Node},
}

var entries = []Kind{
	{Name: "FDB entry deleted", Break: "bridge fdb del " + peerMAC + " dev $DEV", Shows: showFDB, Reach: Peer},
	{
		Name: "FDB entry changed", Break: "bridge fdb replace " + peerMAC + " dev $DEV dst 172.30.0.99 self",
		Shows: showFDB + " && ! bridge fdb show dev $DEV | grep -q 172.30.0.99", Reach: Peer,
	},
	{Name: "ARP entry deleted", Break: "ip neigh del $GATEWAY dev $DEV", Shows: showNeigh, Reach: Peer},
	{
		Name: "ARP entry changed", Break: "ip neigh replace $GATEWAY lladdr " + wrongMAC + " dev $DEV nud permanent",
		Shows: showNeigh + " && ! ip neigh show dev $DEV | grep -q " + wrongMAC, Reach: Peer,
	},
}

var devices = []Kind{
	{
		Name:  "VTEP MAC changed",
		Break: "cat /sys/class/net/$DEV/address >/run/vtep-mac && ip link set $DEV address " + wrongMAC,
		Shows: "test ! -e /run/vtep-mac || test $(cat /sys/class/net/$DEV/address) = $(cat /run/vtep-mac)", Reach: Node,
	},
	{Name: "MTU changed", Break: "ip link set $DEV mtu 1300", Shows: "test $(cat /sys/class/net/$DEV/mtu) = 1450", Reach: Node},
	// The routes of a device go with its last address, without a message.
	{Name: "tunnel address deleted", Break: "ip addr flush dev $DEV", Shows: showAddr + " && " + showRoute + " && " + showNeigh, Reach: Node},
	{
		Name: "link set down", Break: "ip link set $DEV down",
		Shows: "ip link show $DEV | grep -q '[<,]UP[,>]' && " + showRoute + " && " + showNeigh, Reach: Node,
	},
	{Name: "device deleted", Break: "ip link del $DEV", Shows: showAddr + " && " + showFDB + " && " + showNeigh + " && " + showRoute, Reach: Node},
	{
		Name: "bridge address deleted", Break: "ip addr flush dev cni0 scope global",
		Shows: "ip addr show cni0 | grep -q 'inet $NETWORK.*/24' && " + showRoute, Reach: Node,
	},
	{
		Name: "bridge set down", Break: "ip link set cni0 down",
		Shows: "ip link show cni0 | grep -q '[<,]UP[,>]' && " + showRoute, Reach: Node,
	},
	{
		Name: "bridge deleted", Break: "ip link del cni0",
		Shows: allPlugged + " && ip addr show cni0 | grep -q 'inet $NETWORK.*/24' && ip link show cni0 | grep -q '[<,]UP[,>]' && " + showRoute,
		Reach: Node,
	},
	{
		Name:  "pod's port taken off the bridge",
		Break: "ip link set $(bridge -o link show | awk '/master cni0/{sub(/[@:].*/, \"\", $2); print $2; exit}') nomaster",
		Shows: allPlugged, Reach: Node,
	},
}

// allPlugged says that there are pods, and that the ports of all are on the bridge as they were.
const allPlugged = "n=$(ip link show type veth | grep -c 'alias hopsack-pod hairpin'); test $n -gt 0 && " +
	"test $(bridge -d -o link show | grep 'master cni0' | grep -c 'hairpin on') -eq $n"

const showTable = "nft list table inet hopsack | grep -q masquerade"

var filters = []Kind{
	{Name: "nftables table deleted", Break: "nft delete table inet hopsack", Shows: showTable, Reach: None},
	{Name: "nftables chains emptied", Break: "nft flush table inet hopsack", Shows: showTable, Reach: None},
	{Name: "nftables ruleset flushed", Break: "nft flush ruleset", Shows: showTable + " && iptables-nft -S FORWARD | grep -q hopsack", Reach: None},
	{Name: "FORWARD rules deleted", Break: "iptables-nft -F FORWARD", Shows: "test $(iptables-nft -S FORWARD | grep -c hopsack) -ge 2", Reach: None},
}

const rpFilter = "/proc/sys/net/ipv4/conf/eth0/rp_filter"

var sysctls = []Kind{
	{Name: "ip_forward switched off", Break: "echo 0 >/proc/sys/net/ipv4/ip_forward", Shows: "grep -q 1 /proc/sys/net/ipv4/ip_forward", Reach: Node},
	{Name: "rp_filter of the underlay made strict", Break: "echo 1 >" + rpFilter, Shows: "! grep -q 1 " + rpFilter, Reach: None, DirectRouting: true},
	{
		Name: "rp_filter of the tunnel made strict", Break: "echo 1 >/proc/sys/net/ipv4/conf/$DEV/rp_filter",
		Shows: "! grep -q 1 /proc/sys/net/ipv4/conf/$DEV/rp_filter", Reach: None, DirectRouting: true,
	},
}

var files = []Kind{
	{Name: "subnet.env deleted", Break: "rm " + env, Shows: "grep -q FLANNEL_MTU=1450 " + env, Reach: None},
	{Name: "subnet.env changed", Break: "echo FLANNEL_MTU=9000 >" + env, Shows: "grep -q FLANNEL_MTU=1450 " + env, Reach: None},
	{Name: "conflist deleted", Break: "rm " + conflist, Shows: "grep -q hopsack " + conflist, Reach: None},
	{Name: "conflist changed", Break: "echo '{}' >" + conflist, Shows: "grep -q hopsack " + conflist, Reach: None},
	{Name: "hand-off deleted", Break: "rm /run/hopsack/cni.json", Shows: "grep -q '$NETWORK' /run/hopsack/cni.json", Reach: None},
}
