package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrNotUp says that no lab is up in the state directory.
var ErrNotUp = errors.New("the lab is not up: start it with `lab up`")

// Node is one node of the lab.
type Node struct {
	// Name is n1, n2, ...
	Name string `json:"name"`
	// Index is the number in the name; it decides the addresses.
	Index int `json:"index"`
	// Routed nodes have a segment of their own behind the router.
	Routed bool `json:"routed"`
}

// Addrs are the node's underlay addresses, one per family.
func (n Node) Addrs() []netip.Addr { return []netip.Addr{n.prefix().Addr()} }

// segment is the number of the L2 segment the node is plugged into: 0 is shared.
func (n Node) segment() int {
	if n.Routed {
		return n.Index
	}
	return 0
}

func (n Node) prefix() netip.Prefix { return segmentPrefix(n.segment(), 10+n.Index) }

// segmentPrefix returns host's address in a segment, with the segment's length.
func segmentPrefix(segment, host int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 30, byte(segment), byte(host)}), 24)
}

// maxIndex keeps node addresses below the client's.
const maxIndex = 180

// parseNodeName returns the index in a node's name.
func parseNodeName(name string) (int, error) {
	digits, ok := strings.CutPrefix(name, "n")
	index, err := strconv.Atoi(digits)
	if !ok || err != nil || strconv.Itoa(index) != digits || index < 1 || index > maxIndex {
		return 0, fmt.Errorf("node name %q: want n1 to n%d", name, maxIndex)
	}
	return index, nil
}

// state is what a lab remembers between commands.
type state struct {
	Nodes          []Node   `json:"nodes"`
	BinDir         string   `json:"binDir"`
	AgentArgs      []string `json:"agentArgs,omitempty"`
	ControllerArgs []string `json:"controllerArgs,omitempty"`
	// Kubelet is set in a lab with real nodes; nil: the lab runs hopsack itself.
	Kubelet *kubelets `json:"kubelet,omitempty"`
	// Cuts are by node; see Cut.
	Cuts map[string][]Cut `json:"cuts,omitempty"`
	// Delays are by node and resource. A node that has an entry, even an empty one, has an agent that speaks to the API through
	// a proxy; see Delay.
	Delays map[string]map[string]time.Duration `json:"delays,omitempty"`
}

func (s *state) node(name string) (Node, bool) {
	i := slices.IndexFunc(s.Nodes, func(n Node) bool { return n.Name == name })
	if i < 0 {
		return Node{}, false
	}
	return s.Nodes[i], true
}

func (c *Cluster) statePath() string { return c.path("lab.json") }

// load reads the state; ErrNotUp when there is none.
func (c *Cluster) load() (*state, error) {
	raw, err := os.ReadFile(c.statePath())
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNotUp
	}
	if err != nil {
		return nil, err
	}
	var s state
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("read %s: %w", c.statePath(), err)
	}
	return &s, nil
}

func (c *Cluster) save(s *state) error {
	slices.SortFunc(s.Nodes, func(a, b Node) int { return a.Index - b.Index })
	return writeJSON(c.statePath(), s)
}

// writeJSON replaces path in one step.
func writeJSON(path string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path+".tmp", append(raw, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// Nodes returns the nodes, in order of their index.
func (c *Cluster) Nodes() ([]Node, error) {
	s, err := c.load()
	if err != nil {
		return nil, err
	}
	return s.Nodes, nil
}
