package cni

import (
	"errors"
	"fmt"
	"testing"

	"github.com/vishvananda/netlink"
)

// onPort does something to the node's end of a pod's veth.
func (n *node) onPort(p pod, do func(port netlink.Link) error) error {
	var index int
	err := p.try(func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err == nil {
			index = eth0.Attrs().ParentIndex
		}
		return err
	})
	if err != nil {
		return err
	}
	return n.try(func() error {
		port, err := netlink.LinkByIndex(index)
		if err != nil {
			return err
		}
		return do(port)
	})
}

// The mark says how the delegate was told to set the port, which the network does not say: the delegate block may say
// otherwise, and what the network asks for may change while the pod runs.
func TestMarkSaysHowThePortIs(t *testing.T) {
	for name, tc := range map[string]struct {
		delegate map[string]any
		hairpin  bool // of the hand-off file
		want     string
	}{
		"network's hairpin": {hairpin: true, want: `veth mtu 1500 hairpin true isolated false alias "hopsack-pod hairpin"`},
		"no hairpin":        {want: `veth mtu 1500 hairpin false isolated false alias "hopsack-pod"`},
		"user's hairpin":    {map[string]any{"hairpinMode": true}, false, `veth mtu 1500 hairpin true isolated false alias "hopsack-pod hairpin"`},
		"user says no":      {map[string]any{"hairpinMode": false}, true, `veth mtu 1500 hairpin false isolated false alias "hopsack-pod"`},
		"isolated": {map[string]any{"PortIsolation": true}, true,
			`veth mtu 1500 hairpin true isolated true alias "hopsack-pod hairpin isolated"`},
	} {
		t.Run(name, func(t *testing.T) {
			f := file("10.244.1.0/24")
			f.HairpinMode = tc.hairpin
			n, p := newNode(t, f), newPod(t, "pod-1")
			if tc.delegate != nil {
				n.keys = map[string]any{"delegate": tc.delegate}
			}
			port := n.add(t, p).Interfaces[1].Name
			if got := n.links(t)[port]; got != tc.want {
				t.Errorf("port: got %s, want %s", got, tc.want)
			}
		})
	}
}

// While the delegate works on the port it has no mark: the agent would put it onto the bridge too early.
func TestMarkComesAfterTheDelegate(t *testing.T) {
	n, p := newNode(t, file("10.244.1.0/24")), newPod(t, "pod-1")
	err := n.addWhile(t, p, func() error {
		return n.onPort(p, func(port netlink.Link) error {
			if alias := port.Attrs().Alias; alias != "" {
				return fmt.Errorf("port has the mark %q", alias)
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	err = n.onPort(p, func(port netlink.Link) error {
		if got, want := port.Attrs().Alias, "hopsack-pod hairpin"; got != want {
			return fmt.Errorf("alias: got %q, want %q", got, want)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A port that cannot be marked would be lost with the bridge, so ADD fails and leaves nothing.
func TestPortGoneBeforeItsMark(t *testing.T) {
	n, p := newNode(t, file("10.244.1.0/24")), newPod(t, "pod-1")
	err := n.addWhile(t, p, func() error {
		return n.onPort(p, func(port netlink.Link) error { return netlink.LinkSetName(port, "renamed") })
	})
	var notFound netlink.LinkNotFoundError
	if !errors.As(err, &notFound) {
		t.Errorf("got error %v, want that the port is not found", err)
	}
	if got := n.inUse(t); len(got) != 0 {
		t.Errorf("addresses in use: %v", got)
	}
	if got := n.links(t); len(got) != 1 {
		t.Errorf("links: got %v, want the bridge alone", got)
	}
}
