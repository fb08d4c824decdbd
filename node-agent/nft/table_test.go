package nft

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

func newTable(t testing.TB) *Table {
	t.Helper()
	table, err := NewTable()
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// syncTable fails the test unless a Sync makes so many changes.
func syncTable(t testing.TB, table *Table, want *desired.Firewall, full bool, changes int) {
	t.Helper()
	got, problems, err := table.Sync(context.Background(), want, full)
	if err != nil || len(problems) > 0 || got != changes {
		t.Errorf("got %d changes, problems %v, error %v, want %d changes", got, problems, err, changes)
	}
}

// list prints the table without counters.
func list(t testing.TB) string {
	t.Helper()
	return nstest.Run(t, "nft -s list table inet "+TableName)
}

// nft runs a command whose words may contain spaces.
func nft(t testing.TB, command string) {
	t.Helper()
	if out, err := exec.Command("nft", command).CombinedOutput(); err != nil {
		t.Fatalf("nft %s: %v: %s", command, err, out)
	}
}

// Whatever is done to the table is noticed without an event and without a program, and put right in one write.
func TestTableAfterInterference(t *testing.T) {
	for name, command := range map[string]string{
		"table deleted":        "delete table inet hopsack",
		"table flushed":        "flush table inet hopsack",
		"table asleep":         "add table inet hopsack { flags dormant; }",
		"everything flushed":   "flush ruleset",
		"chain flushed":        "flush chain inet hopsack postrouting",
		"chain deleted":        "flush chain inet hopsack input; delete chain inet hopsack input",
		"chain added":          "add chain inet hopsack mine { type filter hook forward priority 0; policy drop; }",
		"policy changed":       "add chain inet hopsack forward { policy drop; }",
		"rule added":           "add rule inet hopsack postrouting masquerade",
		"rule inserted":        "insert rule inet hopsack postrouting accept",
		"first rule replaced":  "replace rule inet hopsack input handle HANDLE accept",
		"first rule deleted":   "delete rule inet hopsack input handle HANDLE",
		"peer deleted":         "delete element inet hopsack peers4 { 192.0.2.2 }",
		"peer added":           "add element inet hopsack peers4 { 192.0.2.99 }",
		"peer exchanged":       "delete element inet hopsack peers4 { 192.0.2.2 }; add element inet hopsack peers4 { 192.0.2.99 }",
		"network added":        "add element inet hopsack pods4 { 10.99.0.0/16 }",
		"set flushed":          "flush set inet hopsack local4",
		"set added":            "add set inet hopsack mine { type ipv4_addr; }",
		"port deleted":         "delete element inet hopsack ports { 8472 }",
		"made again by a hand": "delete table inet hopsack; add table inet hopsack",
	} {
		t.Run(name, func(t *testing.T) {
			nstest.Enter(t)
			table := newTable(t)
			syncTable(t, table, testFirewall(), false, 1)
			want := list(t)
			nft(t, strings.ReplaceAll(command, "HANDLE", firstHandle(t, "input")))
			syncTable(t, table, testFirewall(), false, 1)
			if diff := cmp.Diff(want, list(t)); diff != "" {
				t.Errorf("table (-want +got):\n%s", diff)
			}
			syncTable(t, table, testFirewall(), false, 0)
			syncTable(t, table, testFirewall(), true, 0)
		})
	}
}

// firstHandle is the handle of a chain's first rule.
func firstHandle(t testing.TB, chain string) string {
	t.Helper()
	for line := range strings.Lines(nstest.Run(t, "nft -a list chain inet hopsack "+chain)) {
		if _, handle, ok := strings.Cut(line, "# handle "); ok && strings.Contains(line, "counter") {
			return strings.TrimSpace(handle)
		}
	}
	t.Fatalf("chain %s has no rule", chain)
	return ""
}

// What others do to their tables, and packets that are counted, are no reason to write.
func TestTableLeftAlone(t *testing.T) {
	nstest.Enter(t)
	table := newTable(t)
	syncTable(t, table, testFirewall(), false, 1)
	want := list(t)
	for range 3 {
		nft(t, "add table ip other; add chain ip other c { type nat hook postrouting priority 100; }; add rule ip other c masquerade")
		nft(t, "reset counters")
		syncTable(t, table, testFirewall(), false, 0)
	}
	if diff := cmp.Diff(want, list(t)); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	syncTable(t, table, nil, false, 1)
	syncTable(t, table, nil, true, 0)
	if out := nstest.Run(t, "nft list tables"); out != "table ip other\n" {
		t.Errorf("got tables %q, want the other's", out)
	}
}

// Peers and networks come and go one by one; the table of another process is written once more.
func TestTableUpdates(t *testing.T) {
	nstest.Enter(t)
	table := newTable(t)
	fw := testFirewall()
	syncTable(t, table, fw, false, 1)
	handle := firstHandle(t, "input")
	fw.Peers = addrs("192.0.2.3", "192.0.2.4", "2001:db8::4")
	syncTable(t, table, fw, false, 3)
	fw.PodNetworks, fw.TunnelPorts = prefixes("10.244.0.0/16", "10.245.0.0/16"), []uint16{4789, 8472}
	syncTable(t, table, fw, false, 2)
	if got := firstHandle(t, "input"); got != handle {
		t.Error("the rules were written again")
	}
	updated := list(t)
	syncTable(t, newTable(t), fw, false, 1)
	if diff := cmp.Diff(list(t), updated); diff != "" {
		t.Errorf("table (-anew +updated):\n%s", diff)
	}
	fw.NodeAddrs = addrs("10.245.1.1")
	syncTable(t, table, fw, false, 1)
	syncTable(t, table, fw, false, 0)
}

// Whatever changed, the kernel's table brought up to date is one written anew, and each update is known to be intact.
func TestTableUpdatesEqualRender(t *testing.T) {
	nstest.Enter(t)
	rng := rand.New(rand.NewPCG(3, 4))
	table := newTable(t)
	for range 25 {
		want := randomFirewall(rng)
		if _, _, err := table.Sync(context.Background(), want, false); err != nil {
			t.Fatal(err)
		}
		syncTable(t, table, want, false, 0)
		syncTable(t, table, want, true, 0)
		updated := list(t)
		syncTable(t, newTable(t), want, false, 1)
		if diff := cmp.Diff(sortedElements(list(t)), sortedElements(updated)); diff != "" {
			t.Fatalf("table (-anew +updated):\n%s", diff)
		}
		syncTable(t, table, want, false, 1) // it has been replaced
	}
}

// sortedElements makes the order of a set's elements, which nft leaves to chance, one.
func sortedElements(listing string) []string {
	return slices.Sorted(strings.FieldsFuncSeq(listing, func(r rune) bool { return strings.ContainsRune(" ,\n\t", r) }))
}

// Somebody who changes nftables between the look and the update is noticed, and so is what he did.
func TestTableUpdateMeetsInterference(t *testing.T) {
	for name, tc := range map[string]struct {
		command string
		blind   bool // the look missed it
		changes int
	}{
		"element gone":              {"delete element inet hopsack peers4 { 192.0.2.2 }", true, 1},
		"element gone, seen late":   {"delete element inet hopsack peers4 { 192.0.2.2 }", false, 1},
		"other table":               {"add table ip other", false, 1},
		"element there already":     {"add element inet hopsack peers4 { 192.0.2.9 }", true, 1},
		"rule deleted, not noticed": {"flush chain inet hopsack input", false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			nstest.Enter(t)
			table := newTable(t)
			fw := testFirewall()
			syncTable(t, table, fw, false, 1)
			want := testFirewall()
			want.Peers = addrs("192.0.2.3")
			nft(t, tc.command)
			if tc.blind {
				table.generation, _ = table.kernel.generation()
			} else if _, err := table.update(context.Background(), want); !errors.Is(err, errRulesChanged) {
				t.Errorf("got error %v, want %v", err, errRulesChanged)
			}
			syncTable(t, table, want, false, tc.changes)
			syncTable(t, table, want, true, map[bool]int{true: 1, false: 0}[name == "element there already"])
			updated := list(t)
			syncTable(t, newTable(t), want, false, 1)
			if diff := cmp.Diff(sortedElements(list(t)), sortedElements(updated)); diff != "" {
				t.Errorf("table (-anew +updated):\n%s", diff)
			}
		})
	}
}

// So many peers at once that they do not fit one message are written with the table.
func TestTableManyPeers(t *testing.T) {
	nstest.Enter(t)
	table := newTable(t)
	syncTable(t, table, manyPeers(0), false, 1)
	syncTable(t, table, manyPeers(maxUpdate), false, maxUpdate)
	syncTable(t, table, manyPeers(3*maxUpdate), false, 1)
	syncTable(t, table, manyPeers(2*maxUpdate), false, maxUpdate)
	syncTable(t, table, manyPeers(2*maxUpdate), true, 0)
}

func manyPeers(n int) *desired.Firewall {
	fw := testFirewall()
	fw.Peers = nil
	for i := range n {
		fw.Peers = append(fw.Peers, netip.AddrFrom4([4]byte{172, 16 + byte(i>>16), byte(i >> 8), byte(i)}))
	}
	return fw
}

// BenchmarkTable measures a pass with 5,000 peers: when nothing happened, when another table changed, when a peer joins, and
// when everything has to be written.
func BenchmarkTable(b *testing.B) {
	const peers = 5000
	for name, step := range map[string]func(table *Table, n int) (*desired.Firewall, int){
		"nothing":             func(*Table, int) (*desired.Firewall, int) { return nil, 0 },
		"other table changed": func(table *Table, _ int) (*desired.Firewall, int) { table.generation--; return nil, 0 },
		"peer joins":          func(_ *Table, n int) (*desired.Firewall, int) { return manyPeers(peers + n), 1 },
		"all anew":            func(table *Table, _ int) (*desired.Firewall, int) { table.have = nil; return nil, 1 },
	} {
		b.Run(name, func(b *testing.B) {
			nstest.Enter(b)
			table, fw, n := newTable(b), manyPeers(peers), 0
			syncTable(b, table, fw, false, 1)
			for b.Loop() {
				n++
				next, changes := step(table, n)
				if next != nil {
					fw = next
				}
				syncTable(b, table, fw, false, changes)
			}
		})
	}
}
