package loss

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// SizeMax asks for packets that fill the sender's route MTU, with DF set.
	SizeMax = -1
	// DefaultRate is the packets per second of each UDP stream when Options.Rate is zero.
	DefaultRate = 1000
	// DefaultSize is the UDP payload in bytes when Options.Size is zero.
	DefaultSize = 64
	// DefaultWarmUp is the longest warm-up when Options.WarmUp is zero.
	DefaultWarmUp = 5 * time.Second
	// DefaultMark is kube-proxy's masquerade mark, used when NodePort.Mark is zero.
	DefaultMark = 0x4000

	// DrainUDP is how long packets in flight when the command ends are waited for.
	DrainUDP = time.Second
	// DrainTCP is how long a TCP record or a new connection is waited for; one that takes longer is broken. It covers
	// the retransmission that follows a few seconds of darkness (1 + 2 + 4 s after the third try).
	DrainTCP = 10 * time.Second
)

// Endpoint is a place that sends and receives: a pod, a node or a client outside.
type Endpoint struct {
	// Name is printed in stream names. Required.
	Name string
	// NetNS is the path of the network namespace, for example /run/netns/hs-n1. Required.
	NetNS string
	// Addr is the address others send to. A pod has its own; a node has its stable node address (the bridge's gateway
	// address), so that both directions cross the pod network. Required.
	Addr netip.Addr
	// Source is the address the other side must see packets come from; zero means Addr.
	Source netip.Addr
	// LearnSource takes the address seen last in the warm-up for Source: it then must not change.
	LearnSource bool
	// Underlay is the node's InternalIP, where a NodePort is reached. Needed of the node of a NodePort only.
	Underlay netip.Addr
}

// NodePort puts kube-proxy's rules on a node in front of Options.To.
type NodePort struct {
	// Node is the node that gets the rules. NetNS and Underlay are required. Its Source (zero: Addr) is the address the
	// pod must see the client's packets come from. Required.
	Node Endpoint
	// Mark is the mark bit set on packets to be masqueraded; zero means DefaultMark.
	Mark uint32
}

// Options says what to measure, between whom and during what.
type Options struct {
	// From and To are probed in both directions; through a NodePort From is the client and To the pod. Required.
	From, To Endpoint
	// NodePort, when set, sends the client's packets to a NodePort of a node instead of the pod's address.
	NodePort *NodePort
	// Rate is packets per second of each UDP stream; zero means DefaultRate.
	Rate int
	// Size is the UDP payload in bytes, at least MinSize, or SizeMax; zero means DefaultSize.
	Size int
	// TCP adds the TCP streams.
	TCP bool
	// WarmUp bounds the warm-up; zero means DefaultWarmUp. A stream on which nothing arrives by then is an error.
	WarmUp time.Duration
	// During is what is measured: Run counts from just before it is called until it returns. Required.
	During func(ctx context.Context) error
}

// ParseSize reads the --size flag: a number of bytes of UDP payload, or "max".
func ParseSize(s string) (int, error) {
	if s == "max" {
		return SizeMax, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < MinSize || n > maxPayload {
		return 0, fmt.Errorf("size %q: want max or a number of bytes from %d to %d", s, MinSize, maxPayload)
	}
	return n, nil
}

// withDefaults fills in zero fields and refuses options that cannot be measured.
func (o Options) withDefaults() (Options, error) {
	if o.Rate == 0 {
		o.Rate = DefaultRate
	}
	if o.Size == 0 {
		o.Size = DefaultSize
	}
	if o.WarmUp == 0 {
		o.WarmUp = DefaultWarmUp
	}
	o.From = o.From.withDefaults()
	o.To = o.To.withDefaults()
	if o.NodePort != nil {
		np := *o.NodePort
		np.Node = np.Node.withDefaults()
		if np.Mark == 0 {
			np.Mark = DefaultMark
		}
		o.NodePort = &np
	}
	return o, o.validate()
}

func (o Options) validate() error {
	var errs []error
	if o.Size != SizeMax && (o.Size < MinSize || o.Size > maxPayload) {
		errs = append(errs, fmt.Errorf("size %d: want %d to %d bytes", o.Size, MinSize, maxPayload))
	}
	if o.During == nil {
		errs = append(errs, errors.New("nothing to measure: no command"))
	}
	errs = append(errs, o.From.validate(), o.To.validate(), o.validateRate(), o.validateNodePort())
	if err := errors.Join(errs...); err != nil {
		return err
	}
	peer := o.To.Addr
	if o.NodePort != nil {
		peer = o.NodePort.Node.Underlay
	}
	if o.From.Addr.Is4() != peer.Is4() || o.To.Addr.Is4() != peer.Is4() {
		return fmt.Errorf("%s and %s have addresses of different families", o.From.Name, o.To.Name)
	}
	return nil
}

// maxRate keeps pace honest: above it a tick is shorter than what one round of system calls takes.
const maxRate = 10_000

// validateRate refuses a rate at which the new-port streams would fill a node's connection table, because packets
// dropped there would look like the network's loss.
func (o Options) validateRate() error {
	if o.Rate < 1 || o.Rate > maxRate {
		return errRate(o.Rate)
	}
	b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_max")
	if err != nil {
		return nil // no connection tracking, no table to fill
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return nil
	}
	// Both directions pass the same node; an unanswered UDP entry lives for 30 s.
	if need := 2 * o.Rate * 30; need > limit*9/10 {
		return fmt.Errorf("rate %d: a new source port for every packet needs %d conntrack entries of %d (nf_conntrack_max)",
			o.Rate, need, limit)
	}
	return nil
}

func errRate(rate int) error {
	return fmt.Errorf("rate %d: want 1 to %d packets per second", rate, maxRate)
}

func (o Options) validateNodePort() error {
	if o.NodePort == nil {
		return nil
	}
	n := o.NodePort.Node
	if n.NetNS == "" || !n.Underlay.IsValid() || !n.Source.IsValid() {
		return fmt.Errorf("node %s of the NodePort lacks a namespace, an InternalIP or a stable address", n.Name)
	}
	return nil
}

func (e Endpoint) withDefaults() Endpoint {
	e.Addr = e.Addr.Unmap()
	e.Underlay = e.Underlay.Unmap()
	if !e.Source.IsValid() {
		e.Source = e.Addr
	}
	e.Source = e.Source.Unmap()
	return e
}

func (e Endpoint) validate() error {
	switch {
	case e.Name == "":
		return errors.New("an endpoint has no name")
	case e.NetNS == "":
		return fmt.Errorf("%s has no network namespace", e.Name)
	case !e.Addr.IsValid():
		return fmt.Errorf("%s has no address in the pod network", e.Name)
	}
	return nil
}
