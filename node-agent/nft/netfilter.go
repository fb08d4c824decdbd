package nft

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/node-agent/dataplane/attr"
)

const (
	readTimeout = 10 * time.Second
	// dumpTries is how often a dump is begun again that a change interrupted.
	dumpTries = 5
)

// netfilter speaks netlink with nftables, in the network namespace it was opened in.
type netfilter struct {
	sockets map[int]*nl.SocketHandle
}

func newNetfilter() (*netfilter, error) {
	socket, err := nl.Subscribe(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open nftables socket: %w", err)
	}
	timeout := unix.NsecToTimeval(readTimeout.Nanoseconds())
	if err := errors.Join(socket.SetSendTimeout(&timeout), socket.SetReceiveTimeout(&timeout)); err != nil {
		socket.Close()
		return nil, fmt.Errorf("set nftables timeout: %w", err)
	}
	return &netfilter{map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: {Socket: socket}}}, nil
}

// port is the socket's address.
func (n *netfilter) port() (uint32, error) {
	port, err := n.sockets[unix.NETLINK_NETFILTER].Socket.GetPid()
	if err != nil {
		return 0, fmt.Errorf("read nftables socket's port: %w", err)
	}
	return port, nil
}

// nfgenmsg is the header of every message. The resource is the subsystem in the messages around a batch, else 0.
type nfgenmsg struct {
	family   byte
	resource uint16
}

func (m nfgenmsg) Len() int { return 4 }

func (m nfgenmsg) Serialize() []byte {
	return binary.BigEndian.AppendUint16([]byte{m.family, unix.NFNETLINK_V0}, m.resource)
}

// get sends a request and calls see with the attributes of each answer.
func (n *netfilter) get(message int, flags uint16, family byte, see func(attrs []byte), with ...*nl.RtAttr) error {
	const length = 4
	var err error
	for range dumpTries {
		req := &nl.NetlinkRequest{
			NlMsghdr: unix.NlMsghdr{
				Len: unix.SizeofNlMsghdr, Type: uint16(unix.NFNL_SUBSYS_NFTABLES<<8 | message), Flags: unix.NLM_F_REQUEST | flags,
			},
			Sockets: n.sockets,
		}
		req.AddData(nfgenmsg{family: family})
		for _, a := range with {
			req.AddData(a)
		}
		var answers [][]byte
		if answers, err = req.Execute(unix.NETLINK_NETFILTER, 0); errors.Is(err, nl.ErrDumpInterrupted) {
			continue
		}
		if err != nil {
			return err
		}
		for _, a := range answers {
			if len(a) >= length {
				see(a[length:])
			}
		}
		return nil
	}
	return err
}

func text(typ int, s string) *nl.RtAttr { return nl.NewRtAttr(typ, nl.ZeroTerminated(s)) }

// generation is a number that every change of any table makes another one.
func (n *netfilter) generation() (uint32, error) {
	var id uint32
	err := n.get(unix.NFT_MSG_GETGEN, 0, unix.AF_UNSPEC, func(attrs []byte) {
		id = attr.BigUint32(attr.Find(attrs, unix.NFTA_GEN_ID))
	})
	if err != nil {
		return 0, fmt.Errorf("read nftables generation: %w", err)
	}
	return id, nil
}

// exists says whether there is such a table.
func (n *netfilter) exists(family byte, table string) (bool, error) {
	err := n.get(unix.NFT_MSG_GETTABLE, 0, family, func([]byte) {}, text(unix.NFTA_TABLE_NAME, table))
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read nftables table %s: %w", table, err)
	}
	return true, nil
}

// rules are a chain's rules in order, each as a line that differs when the rule does; chain "" means all of a table. Without
// the table or chain there are none.
func (n *netfilter) rules(family byte, table, chain string) ([]string, error) {
	with := []*nl.RtAttr{text(unix.NFTA_RULE_TABLE, table)}
	if chain != "" {
		with = append(with, text(unix.NFTA_RULE_CHAIN, chain))
	}
	var out []string
	err := n.get(unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, family, func(attrs []byte) {
		if name := attr.String(attr.Find(attrs, unix.NFTA_RULE_CHAIN)); chain == "" || name == chain {
			out = append(out, fmt.Sprintf("%s %d %x", name, attr.BigUint64(attr.Find(attrs, unix.NFTA_RULE_HANDLE)), ruleSum(attrs)))
		}
	}, with...)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("read nftables rules of %s: %w", table, err)
	}
	return out, nil
}

// ruleSum sums up what a rule does; the handle says nothing of it, as a rule that is replaced keeps its handle. Counters are
// left out: they move.
func ruleSum(attrs []byte) []byte {
	hash := sha256.New()
	for _, expression := range attr.All(attr.Find(attrs, unix.NFTA_RULE_EXPRESSIONS)) {
		if attr.String(attr.Find(expression, unix.NFTA_EXPR_NAME)) != "counter" {
			hash.Write(expression)
		}
	}
	return hash.Sum(nil)
}

// chains are the attributes of a table's chains by name.
func (n *netfilter) chains(family byte, table string) (map[string][]byte, error) {
	out := map[string][]byte{}
	err := n.get(unix.NFT_MSG_GETCHAIN, unix.NLM_F_DUMP, family, func(attrs []byte) {
		if attr.String(attr.Find(attrs, unix.NFTA_CHAIN_TABLE)) == table {
			out[attr.String(attr.Find(attrs, unix.NFTA_CHAIN_NAME))] = attrs
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read nftables chains of %s: %w", table, err)
	}
	return out, nil
}

// sets are the names of a table's sets, in no order.
func (n *netfilter) sets(family byte, table string) ([]string, error) {
	var out []string
	err := n.get(unix.NFT_MSG_GETSET, unix.NLM_F_DUMP, family, func(attrs []byte) {
		out = append(out, attr.String(attr.Find(attrs, unix.NFTA_SET_NAME)))
	}, text(unix.NFTA_SET_TABLE, table))
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("read nftables sets of %s: %w", table, err)
	}
	return out, nil
}

// setSum stands for the elements of a set, in whatever order they come. It can be brought up to date without reading them.
type setSum struct {
	count int
	sum   uint64
}

func (s *setSum) add(key []byte) {
	s.count++
	s.sum += keySum(key)
}

func (s *setSum) remove(key []byte) {
	s.count--
	s.sum -= keySum(key)
}

func keySum(key []byte) uint64 {
	hash := fnv.New64a()
	hash.Write(key)
	return hash.Sum64()
}

// elements sums up a set's elements. One that ends an interval counts as another than the one that begins there.
func (n *netfilter) elements(family byte, table, set string) (setSum, error) {
	var out setSum
	err := n.get(unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, family, func(attrs []byte) {
		for _, element := range attr.All(attr.Find(attrs, unix.NFTA_SET_ELEM_LIST_ELEMENTS)) {
			key := attr.Find(attr.Find(element, unix.NFTA_SET_ELEM_KEY), unix.NFTA_DATA_VALUE)
			if attr.BigUint32(attr.Find(element, unix.NFTA_SET_ELEM_FLAGS))&unix.NFT_SET_ELEM_INTERVAL_END != 0 {
				key = append([]byte("end"), key...)
			}
			out.add(key)
		}
	}, text(unix.NFTA_SET_ELEM_LIST_TABLE, table), text(unix.NFTA_SET_ELEM_LIST_SET, set))
	if err != nil {
		return setSum{}, fmt.Errorf("read nftables set %s: %w", set, err)
	}
	return out, nil
}

// fingerprint is equal for equal tables, and differs when anything but counters differs.
type fingerprint struct {
	// static sums up everything but elements.
	static [sha256.Size]byte
	rules  int
	sets   map[string]setSum
}

func (f fingerprint) equal(g fingerprint) bool {
	return f.rules > 0 && f.static == g.static && maps.Equal(f.sets, g.sets)
}

// fingerprint reads a table. That of a table that is missing has no rules.
func (n *netfilter) fingerprint(family byte, table string) (fingerprint, error) {
	out := fingerprint{sets: map[string]setSum{}}
	hash := sha256.New()
	err := n.get(unix.NFT_MSG_GETTABLE, 0, family, func(attrs []byte) {
		hash.Write(attr.Find(attrs, unix.NFTA_TABLE_FLAGS))
		hash.Write(attr.Find(attrs, nftaTableHandle))
	}, text(unix.NFTA_TABLE_NAME, table))
	if errors.Is(err, unix.ENOENT) {
		return out, nil
	}
	if err != nil {
		return out, fmt.Errorf("read nftables table %s: %w", table, err)
	}
	chains, err := n.chains(family, table)
	if err != nil {
		return out, err
	}
	for _, name := range sortedKeys(chains) {
		fmt.Fprintln(hash, "chain", name)
		for _, typ := range []uint16{unix.NFTA_CHAIN_HANDLE, unix.NFTA_CHAIN_HOOK, unix.NFTA_CHAIN_POLICY, unix.NFTA_CHAIN_TYPE} {
			hash.Write(attr.Find(chains[name], typ))
		}
	}
	rules, err := n.rules(family, table, "")
	if err != nil {
		return out, err
	}
	fmt.Fprintln(hash, rules)
	out.rules = len(rules)
	hash.Sum(out.static[:0])
	sets, err := n.sets(family, table)
	if err != nil {
		return out, err
	}
	for _, name := range sets {
		if out.sets[name], err = n.elements(family, table, name); err != nil {
			return out, err
		}
	}
	return out, nil
}

// nftaTableHandle is NFTA_TABLE_HANDLE (linux/netfilter/nf_tables.h), which x/sys does not have.
const nftaTableHandle = 4
