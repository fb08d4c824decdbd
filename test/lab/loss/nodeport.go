package loss

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// NodePorts are taken from kube-apiserver's default range, in blocks: one table, one block.
	nodePortFirst = 30000
	nodePortBlock = 32
	nodePortCount = 2768 / nodePortBlock

	nodePortTable = "hopsack-lab-"
)

// forward is one NodePort: protocol and port on the node, and the pod's port behind it.
type forward struct {
	proto string // "udp" or "tcp"
	port  uint16
	to    netip.AddrPort
}

// nodePortRules renders kube-proxy's rules for forwards as one nft command. As in kube-proxy's nftables mode, the first
// packet of a connection is marked and DNATed at dstnat (for clients on the node at output), and what is marked is
// masqueraded at srcnat, after the mark's bit is taken off. The table has an owner: the kernel removes it together with
// the socket of the nft process that made it. services names the chain of the forwards, and tells whose table it is.
func nodePortRules(table, services string, f family, node netip.Addr, mark uint32, forwards []forward) string {
	var b strings.Builder
	fmt.Fprintf(&b, "table %s %s { flags owner; ", f.nft, table)
	fmt.Fprintf(&b, "chain %s { ", services)
	for _, w := range forwards {
		fmt.Fprintf(&b, "%s daddr %s %s dport %d meta mark set meta mark or %#x dnat to %s; ",
			f.nft, node, w.proto, w.port, mark, w.to)
	}
	b.WriteString("}; ")
	fmt.Fprintf(&b, "chain nat-prerouting { type nat hook prerouting priority dstnat; policy accept; jump %s; }; ", services)
	// nft knows the name dstnat (-100) for prerouting only.
	fmt.Fprintf(&b, "chain nat-output { type nat hook output priority -100; policy accept; jump %s; }; ", services)
	b.WriteString("chain nat-postrouting { type nat hook postrouting priority srcnat; policy accept; ")
	fmt.Fprintf(&b, "meta mark and %#x == 0 return; meta mark set meta mark xor %#x; masquerade fully-random; }; }", mark, mark)
	return b.String()
}

// nodePortBase picks the first port of a block. Random, so that conntrack entries of a measurement that was killed do
// not catch the next one's packets.
func nodePortBase() uint16 {
	return uint16(nodePortFirst + nodePortBlock*rand.IntN(nodePortCount))
}

// nodePorts is the table of one measurement, alive as long as its nft process.
type nodePorts struct {
	netns    string
	family   family
	forwards []forward
	cmd      *exec.Cmd
	stdin    io.Closer
	stderr   *firstLine
	exited   chan struct{} // closed when nft has exited
}

// errTaken says that another measurement's table has the name.
var errTaken = errors.New("the NodePorts are taken")

// installNodePorts puts the rules into the node's namespace and returns when they are there. forwards carry the ports.
func installNodePorts(ctx context.Context, np *NodePort, table string, forwards []forward) (*nodePorts, error) {
	n := &nodePorts{netns: np.Node.NetNS, family: familyOf(np.Node.Underlay), forwards: forwards, exited: make(chan struct{})}
	services := fmt.Sprintf("services-%x", rand.Uint64())
	// Should this process be killed, its end of stdin goes with it and nft ends. (A parent-death signal would come too
	// early: it follows the thread that starts nft, which ends with inNetNS.)
	stdin, listed, err := n.start(services)
	if err != nil {
		return nil, err
	}
	rules := nodePortRules(table, services, n.family, np.Node.Underlay, np.Mark, forwards)
	// Listing the table answers when nft has done what came before, and shows another's if there was one.
	_, werr := fmt.Fprintf(stdin, "%s\nlist table %s %s\n", rules, n.family.nft, table)
	if err := n.awaitRules(ctx, listed); err != nil || werr != nil {
		n.stop()
		return nil, fmt.Errorf("install NodePort rules on %s: %w", np.Node.Name, errors.Join(err, werr))
	}
	return n, nil
}

// start runs nft, interactive so that it keeps the socket that owns the table. listed tells, when nft has listed a
// table, whether that has the chain.
func (n *nodePorts) start(chain string) (stdin io.Writer, listed <-chan bool, err error) {
	n.cmd = exec.Command("nft", "-i")
	// A Ctrl-C at the terminal is for lab, which then removes the table itself.
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	n.stderr = &firstLine{seen: make(chan struct{})}
	n.cmd.Stderr = n.stderr
	pipe, err := n.cmd.StdinPipe()
	if err != nil {
		return nil, nil, fmt.Errorf("start nft: %w", err)
	}
	stdout, err := n.cmd.StdoutPipe()
	if err != nil {
		return nil, nil, fmt.Errorf("start nft: %w", err)
	}
	if err := inNetNS(n.netns, n.cmd.Start); err != nil {
		return nil, nil, fmt.Errorf("start nft: %w", err)
	}
	n.stdin = pipe
	found := make(chan bool, 1)
	go func() {
		defer close(n.exited)
		ours := false
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			ours = ours || strings.TrimSpace(lines.Text()) == "chain "+chain+" {"
			if lines.Text() == "}" {
				found <- ours // once: one table is listed
			}
		}
		_ = n.cmd.Wait() // how it ended is in stderr
	}()
	return pipe, found, nil
}

func (n *nodePorts) awaitRules(ctx context.Context, listed <-chan bool) error {
	limit := time.NewTimer(10 * time.Second)
	defer limit.Stop()
	complaint := n.stderr.seen
	for {
		select {
		case ours := <-listed:
			if !ours {
				return errTaken
			}
			return nil
		case <-complaint:
			// Perhaps only a warning: it counts when the table does not follow.
			complaint = nil
			limit.Reset(500 * time.Millisecond)
		case <-n.exited:
			return fmt.Errorf("nft ended: %s", n.stderr)
		case <-limit.C:
			return fmt.Errorf("no table: %s", n.stderr)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stop ends nft, and with it the table, and waits until it is gone.
func (n *nodePorts) stop() {
	n.stdin.Close()
	select {
	case <-n.exited:
	case <-time.After(5 * time.Second):
		_ = n.cmd.Process.Kill()
		<-n.exited
	}
}

// remove takes the rules away again and forgets the connections they made: a conntrack entry outlives its rule and
// would still translate the packets of a later measurement.
func (n *nodePorts) remove() error {
	n.stop()
	domain := netlink.InetFamily(n.family.domain)
	return inNetNS(n.netns, func() error {
		if _, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, domain, ourConnections(n.forwards)); err != nil {
			return fmt.Errorf("forget NodePort connections: %w", err)
		}
		return nil
	})
}

// ourConnections matches the conntrack entries of forwards.
type ourConnections []forward

var _ netlink.CustomConntrackFilter = ourConnections(nil)

// MatchConntrackFlow reports whether the flow was sent to one of the NodePorts.
func (o ourConnections) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	for _, f := range o {
		proto := uint8(unix.IPPROTO_UDP)
		if f.proto == "tcp" {
			proto = unix.IPPROTO_TCP
		}
		if flow.Forward.Protocol == proto && flow.Forward.DstPort == f.port {
			return true
		}
	}
	return false
}

// firstLine keeps what nft says on stderr. seen is closed at the first word.
type firstLine struct {
	mu   sync.Mutex
	text bytes.Buffer
	seen chan struct{}
	once sync.Once
}

// Write keeps b; it never fails.
func (f *firstLine) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.once.Do(func() { close(f.seen) })
	return f.text.Write(b)
}

// String is the first line of what was said; the others repeat the rules.
func (f *firstLine) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	line, _, _ := strings.Cut(f.text.String(), "\n")
	return line
}
