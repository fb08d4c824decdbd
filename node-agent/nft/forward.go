package nft

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/coreos/go-iptables/iptables"
	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/node-agent/dataplane/attr"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

const (
	// forwardComment marks hopsack's rules.
	forwardComment = "hopsack"
	forwardChain   = "FORWARD"
	filterTable    = "filter"
	// lockTimeout is how many seconds iptables waits for another one that runs.
	lockTimeout = 5
)

// variant is one iptables: a family, in nftables or in the old tables.
type variant struct {
	program string
	proto   iptables.Protocol
	// nfproto is the nftables family, 0 for the old tables.
	nfproto byte
	// names lists the old tables that are in use.
	names string
	has   func(netip.Addr) bool
}

// The lists of old tables are of the network namespace of a thread, hence not /proc/net, which is that of the first thread.
var variants = []variant{
	{program: "iptables-nft", proto: iptables.ProtocolIPv4, nfproto: unix.NFPROTO_IPV4, has: netip.Addr.Is4},
	{program: "ip6tables-nft", proto: iptables.ProtocolIPv6, nfproto: unix.NFPROTO_IPV6, has: netip.Addr.Is6},
	{program: "iptables-legacy", proto: iptables.ProtocolIPv4, names: "/proc/thread-self/net/ip_tables_names", has: netip.Addr.Is4},
	{program: "ip6tables-legacy", proto: iptables.ProtocolIPv6, names: "/proc/thread-self/net/ip6_tables_names", has: netip.Addr.Is6},
}

// Forward keeps two accept rules per pod network in FORWARD: from it and to it. In iptables-nft they are there always, so
// that a policy of DROP that Docker sets later finds them; in iptables-legacy only where its filter table is in use, because
// reading it would load it. It is not safe for concurrent use.
type Forward struct {
	kernel   *netfilter
	programs map[string]*iptables.IPTables
	// checked is what the kernel showed of a variant's chain when its rules were last seen to be right, and for which
	// networks.
	checked    map[string]checkedChain
	generation uint32
}

type checkedChain struct {
	seen     []string
	networks []netip.Prefix
}

// NewForward returns a Forward of the caller's network namespace that has touched nothing.
func NewForward() (*Forward, error) {
	kernel, err := newNetfilter()
	if err != nil {
		return nil, err
	}
	return &Forward{kernel: kernel, programs: map[string]*iptables.IPTables{}, checked: map[string]checkedChain{}}, nil
}

// Sync makes the rules what want says; nil means none. It returns the number of rules added and deleted. Only a full call
// looks at iptables-legacy. A host on which the rules are needed and cannot be made is a problem of reason
// HostNotConfigured.
func (f *Forward) Sync(_ context.Context, want *desired.Firewall, full bool) (int, []desired.Problem, error) {
	if want == nil {
		want = &desired.Firewall{}
	}
	generation, err := f.kernel.generation()
	if err != nil {
		return 0, nil, err
	}
	changed := full || generation != f.generation
	total := 0
	var problems []desired.Problem
	var errs []error
	for _, v := range variants {
		changes, err := f.syncVariant(v, inFamily(want.PodNetworks, v.has), changed, full)
		total += changes
		var missing hostProblem
		if errors.As(err, &missing) {
			problems = append(problems, desired.Problem{Reason: v1alpha1.ReasonHostNotConfigured, Message: missing.Error()})
			continue
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return total, problems, err
	}
	f.generation = generation
	return total, problems, nil
}

// hostProblem is what the host's owner must see to.
type hostProblem string

func (p hostProblem) Error() string { return string(p) }

func inFamily(prefixes []netip.Prefix, has func(netip.Addr) bool) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(prefixes), func(p netip.Prefix) bool { return !has(p.Addr()) })
}

// syncVariant looks whether a variant's rules may have changed, and if so, runs its program.
func (f *Forward) syncVariant(v variant, networks []netip.Prefix, changed, full bool) (int, error) {
	last, known := f.checked[v.program]
	same := known && slices.Equal(last.networks, networks)
	if same && (!changed || v.nfproto == 0 && !full) {
		return 0, nil
	}
	seen, err := f.look(v)
	if err != nil {
		return 0, err
	}
	needed := len(seen) > 0 || v.nfproto != 0 && len(networks) > 0
	changes := 0
	if needed && (!same || full || !slices.Equal(seen, last.seen)) {
		if changes, err = f.fix(v, networks, seen); err != nil {
			delete(f.checked, v.program)
			return changes, err
		}
		if seen, err = f.look(v); err != nil {
			return changes, err
		}
		if changes > 0 && len(networks) == 0 && f.dropEmpty(v, seen) {
			seen = nil
		}
	}
	f.checked[v.program] = checkedChain{seen: seen, networks: networks}
	return changes, nil
}

// look reads without a program what there is to read: for nftables the policy of FORWARD and the handles of its rules, else
// whether the filter table is in use. Nothing means that the chain or table is not there.
func (f *Forward) look(v variant) ([]string, error) {
	if v.nfproto == 0 {
		names, err := os.ReadFile(v.names)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil // the module is not loaded
		}
		if err != nil {
			return nil, fmt.Errorf("read the names of iptables' tables: %w", err)
		}
		if !slices.Contains(strings.Fields(string(names)), filterTable) {
			return nil, nil
		}
		return []string{policyUnknown}, nil
	}
	chains, err := f.kernel.chains(v.nfproto, filterTable)
	if err != nil {
		return nil, err
	}
	chain, ok := chains[forwardChain]
	if !ok {
		return nil, nil
	}
	policy := policyAccept
	if attr.BigUint32(attr.Find(chain, unix.NFTA_CHAIN_POLICY)) == nfDrop {
		policy = policyDrop
	}
	handles, err := f.kernel.rules(v.nfproto, filterTable, forwardChain)
	return append([]string{policy}, handles...), err
}

// What look says first of a chain.
const (
	policyAccept  = "policy accept"
	policyDrop    = "policy drop"
	policyUnknown = "policy unknown"
)

// nfDrop is the verdict NF_DROP (linux/netfilter.h).
const nfDrop = 0

// fix adds what is missing and deletes what is too many. Missing rules go to the top, where they stand before whatever
// Docker or a firewall drops at the end.
func (f *Forward) fix(v variant, networks []netip.Prefix, seen []string) (int, error) {
	program, err := f.program(v)
	if errors.Is(err, exec.ErrNotFound) {
		if len(networks) == 0 || len(seen) == 0 || seen[0] == policyAccept {
			return 0, nil
		}
		return 0, hostProblem(fmt.Sprintf("%s is not installed, and %s may drop pods' packets: %s", v.program, forwardChain, seen[0]))
	}
	if err != nil {
		return 0, err
	}
	lines, err := program.List(filterTable, forwardChain)
	if err != nil {
		return 0, explain(v, "list", err)
	}
	missing, spare := compareRules(lines, networks)
	changes := 0
	for _, rule := range slices.Backward(missing) {
		if err := program.Insert(filterTable, forwardChain, 1, rule...); err != nil {
			return changes, explain(v, "insert", err)
		}
		changes++
	}
	for _, rule := range spare {
		if err := program.Delete(filterTable, forwardChain, rule...); err != nil {
			return changes, explain(v, "delete", err)
		}
		changes++
	}
	return changes, nil
}

// dropEmpty deletes the chain that iptables-nft made for the rules when the last of them has gone, and says whether it is gone:
// one that is empty and accepts does nothing. The program has the kernel refuse it when somebody adds a rule meanwhile, which
// deleting a chain with nft would not; older programs keep it, and then it stays.
func (f *Forward) dropEmpty(v variant, seen []string) bool {
	if v.nfproto == 0 || !slices.Equal(seen, []string{policyAccept}) {
		return false
	}
	program, err := f.program(v)
	return err == nil && program.DeleteChain(filterTable, forwardChain) == nil
}

// explain turns a table that was made in nftables in a way iptables cannot work with (sets, another priority) into what a
// person must see to; all else is an error and tried again.
func explain(v variant, verb string, err error) error {
	for _, said := range []string{"incompatible", "Operation not supported"} {
		if strings.Contains(err.Error(), said) {
			return hostProblem(fmt.Sprintf("%s cannot %s rules in %s, because the table was made by another program: have that let the pod networks pass",
				v.program, verb, forwardChain))
		}
	}
	return fmt.Errorf("%s rule in %s with %s: %w", verb, forwardChain, v.program, err)
}

// compareRules tells what is missing among the lines of iptables -S, and which of hopsack's rules are too many, each as the
// arguments that name it.
func compareRules(lines []string, networks []netip.Prefix) (missing, spare [][]string) {
	wanted := map[string]bool{}
	for _, n := range networks {
		for _, direction := range []string{"-s", "-d"} {
			rule := []string{direction, n.String(), "-m", "comment", "--comment", forwardComment, "-j", "ACCEPT"}
			wanted[strings.Join(rule, " ")] = true
			missing = append(missing, rule)
		}
	}
	seen := map[string]bool{}
	for _, line := range lines {
		rule, ok := strings.CutPrefix(line, "-A "+forwardChain+" ")
		if !ok || !strings.Contains(rule+" ", " --comment "+forwardComment+" ") {
			continue
		}
		if !wanted[rule] || seen[rule] {
			spare = append(spare, strings.Fields(rule))
		}
		seen[rule] = true
	}
	missing = slices.DeleteFunc(missing, func(rule []string) bool { return seen[strings.Join(rule, " ")] })
	return missing, spare
}

// program finds a variant's program; the error is exec.ErrNotFound where it is not installed.
func (f *Forward) program(v variant) (*iptables.IPTables, error) {
	if p := f.programs[v.program]; p != nil {
		return p, nil
	}
	if _, err := exec.LookPath(v.program); err != nil {
		return nil, err
	}
	p, err := iptables.New(iptables.IPFamily(v.proto), iptables.Path(v.program), iptables.Timeout(lockTimeout))
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", v.program, err)
	}
	f.programs[v.program] = p
	return p, nil
}
