package e2e

import (
	"context"
	"strings"
	"testing"
	"time"
)

// drift is one thing somebody else does to a node, and how to see that it was put right.
type drift struct {
	name string
	// breaks is a shell command on n1.
	breaks string
	// shows is a shell command on n1 that fails until all is well.
	shows string
}

const (
	onTunnel = "ip -d link show hs1-8472 | "
	conflist = "/etc/cni/net.d/05-hopsack.conflist"
	// allPlugged says that there are pods, and that the ports of all are on the bridge as they were.
	allPlugged = "n=$(ip link show type veth | grep -c 'alias hopsack-pod hairpin'); test $n -gt 0 && test $(bridge -d -o link show | grep 'master cni0' | grep -c 'hairpin on') -eq $n"
)

var drifts = []drift{
	{"peer route deleted", "ip route del 10.244.2.0/24", "ip route show 10.244.2.0/24 | grep -q 'dev hs1-8472.*src'"},
	{"peer route replaced", "ip route replace 10.244.2.0/24 via 172.30.0.1 proto 104", "ip route show 10.244.2.0/24 | grep -q 'dev hs1-8472.*src'"},
	{"all routes flushed", "ip route flush proto 104", "test $(ip route show proto 104 | wc -l) -ge 3"},
	{"FDB entry deleted", "bridge fdb del $(bridge fdb show dev hs1-8472 | awk '/172.30.0.12/{print $1; exit}') dev hs1-8472", "bridge fdb show dev hs1-8472 | grep -q 172.30.0.12"},
	{"FDB entry changed", "bridge fdb replace $(bridge fdb show dev hs1-8472 | awk '/172.30.0.12/{print $1; exit}') dev hs1-8472 dst 172.30.0.99 self", "bridge fdb show dev hs1-8472 | grep -q 172.30.0.12 && ! bridge fdb show dev hs1-8472 | grep -q 172.30.0.99"},
	{"ARP entry deleted", "ip neigh del 10.244.2.0 dev hs1-8472", "ip neigh show 10.244.2.0 dev hs1-8472 | grep -q PERMANENT"},
	{"ARP entry changed", "ip neigh replace 10.244.2.0 lladdr 02:99:99:99:99:99 dev hs1-8472 nud permanent", "! ip neigh show dev hs1-8472 | grep -q 02:99"},
	{"VTEP MAC changed", "ip link set hs1-8472 address 02:99:99:99:99:99", "! grep -q 02:99 /sys/class/net/hs1-8472/address"},
	{"MTU changed", "ip link set hs1-8472 mtu 1300", onTunnel + "grep -q 'mtu 1450'"},
	{"tunnel address deleted", "ip addr flush dev hs1-8472", "ip addr show hs1-8472 | grep -q 'inet 10.244'"},
	{"link set down", "ip link set hs1-8472 down", onTunnel + "grep -q UP && ip route show 10.244.2.0/24 | grep -q hs1"},
	{"device deleted", "ip link del hs1-8472", onTunnel + "grep -q 'id 1 .*dstport 8472' && ip route show 10.244.2.0/24 | grep -q hs1 && bridge fdb show dev hs1-8472 | grep -q 172.30.0.12 && ip neigh show dev hs1-8472 | grep -q 10.244.2.0"},
	{"bridge address deleted", "ip addr flush dev cni0 scope global", "ip addr show cni0 | grep -q 'inet 10.244.*/24' && ip route show 10.244.2.0/24 | grep -q src"},
	{"bridge set down", "ip link set cni0 down", "ip link show cni0 | grep -q UP && ip route show 10.244.2.0/24 | grep -q src"},
	{"bridge deleted", "ip link del cni0", allPlugged + " && ip addr show cni0 | grep -q 'inet 10.244.*/24' && ip link show cni0 | grep -q UP && ip route show 10.244.2.0/24 | grep -q src"},
	{"pod's port taken off the bridge", "ip link set $(bridge -o link show | awk '/master cni0/{sub(/[@:].*/, \"\", $2); print $2; exit}') nomaster", allPlugged},
	{"nftables table deleted", "nft delete table inet hopsack", "nft list table inet hopsack | grep -q masquerade"},
	{"nftables ruleset flushed", "nft flush ruleset", "nft list table inet hopsack | grep -q masquerade && iptables-nft -S FORWARD | grep -q hopsack"},
	{"nftables chains emptied", "nft flush table inet hopsack", "nft list table inet hopsack | grep -q masquerade"},
	{"FORWARD rules deleted", "iptables-nft -F FORWARD", "test $(iptables-nft -S FORWARD | grep -c hopsack) -ge 2"},
	{"ip_forward switched off", "echo 0 >/proc/sys/net/ipv4/ip_forward", "grep -q 1 /proc/sys/net/ipv4/ip_forward"},
	{"subnet.env deleted", "rm /run/flannel/subnet.env", "grep -q FLANNEL_MTU=1450 /run/flannel/subnet.env"},
	{"subnet.env changed", "echo FLANNEL_MTU=9000 >/run/flannel/subnet.env", "grep -q FLANNEL_MTU=1450 /run/flannel/subnet.env"},
	{"conflist deleted", "rm " + conflist, "grep -q hopsack " + conflist},
	{"conflist changed", "echo '{}' >" + conflist, "grep -q hopsack " + conflist},
	{"hand-off deleted", "rm /run/hopsack/cni.json", "grep -q 10.244 /run/hopsack/cni.json"},
}

// Whatever else touches what hopsack owns is put back. The time until then is logged, not asserted.
func TestDriftHeals(t *testing.T) {
	for _, d := range drifts {
		t.Run(d.name, func(t *testing.T) { heals(t, d) })
	}
	allPing(t)
}

// Strict filtering matters where paths are asymmetric: with direct routing.
func TestStrictFilteringHeals(t *testing.T) {
	apply(t, sample("networkconfig-direct.yaml"))
	defer apply(t, sample("networkconfig.yaml"))
	for _, device := range []string{"eth0", "hs1-8472"} {
		file := "/proc/sys/net/ipv4/conf/" + device + "/rp_filter"
		t.Run(device, func(t *testing.T) {
			heals(t, drift{breaks: "echo 1 >" + file, shows: "! grep -q 1 " + file})
		})
	}
}

func heals(t *testing.T, d drift) {
	t.Helper()
	if _, err := cluster.Exec(t.Context(), "n1", "sh", "-c", d.shows); err != nil {
		t.Fatalf("not well before it was broken: %v", err)
	}
	sh(t, "n1", d.breaks)
	broken := time.Now()
	wait(t, "repair of "+d.name, func() (bool, error) {
		_, err := cluster.Exec(t.Context(), "n1", "sh", "-c", d.shows)
		return err == nil, err
	})
	t.Logf("back after %d ms", time.Since(broken).Milliseconds())
}

// What a tunnel loses in drift is no reason to lose what goes another way.
func TestDriftOfOnePeerLeavesOthersAlone(t *testing.T) {
	losesNothing(t, path{from: "p1", to: "p3"}, 64, func(ctx context.Context) error {
		for _, d := range drifts {
			if strings.HasPrefix(d.name, "peer route") || strings.HasPrefix(d.name, "FDB") || strings.HasPrefix(d.name, "ARP") {
				heals(t, d)
			}
		}
		return nil
	})
}

// Foreign state is left alone, and said.
func TestForeignRouteIsNotOverwritten(t *testing.T) {
	sh(t, "n1", "ip route replace 10.244.2.0/24 via 172.30.0.1 proto static")
	wait(t, "n1 to name the foreign route", func() (bool, error) {
		nn := nodeNetwork(t, "n1")
		for _, c := range nn.Status.Conditions {
			if c.Type == "Programmed" && c.Reason == "ForeignRoute" && strings.Contains(c.Message, "10.244.2.0/24") {
				return true, nil
			}
		}
		return false, nil
	})
	if route := in(t, "n1", "ip", "route", "show", "10.244.2.0/24"); !strings.Contains(route, "via 172.30.0.1") {
		t.Errorf("the foreign route was overwritten: %s", route)
	}
	sh(t, "n1", "ip route del 10.244.2.0/24")
	waitReady(t)
	allPing(t)
}
