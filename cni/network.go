package cni

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/vishvananda/netlink"

	"github.com/hopsack-net/hopsack/internal/handoff"
)

// whereToLook goes with every error that is the node's and not the pod's.
const whereToLook = "the hopsack agent sets this up; the reason is in: kubectl describe nodenetwork NODE"

// tryAgain is an error that passes once the agent has done its work.
func tryAgain(err error) *types.Error {
	return types.NewError(types.ErrTryAgainLater, err.Error(), whereToLook)
}

// readNetwork returns the node's network, or why there is none.
func readNetwork(path string) (handoff.File, error) {
	f, err := handoff.Read(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return handoff.File{}, fmt.Errorf("node has no pod network yet: %s does not exist", path)
	case err != nil:
		return handoff.File{}, fmt.Errorf("node has no usable pod network: %w", err)
	}
	return f, nil
}

// readUsableNetwork returns the node's network and its bridge, or why no pod can be plugged in.
func readUsableNetwork(path string) (handoff.File, *netlink.Bridge, error) {
	f, err := readNetwork(path)
	if err != nil {
		return handoff.File{}, nil, err
	}
	switch {
	case len(f.Subnets) == 0:
		return handoff.File{}, nil, fmt.Errorf("node hands out no pod addresses: %s names no subnet", path)
	case len(f.Usable()) == 0:
		return handoff.File{}, nil, fmt.Errorf("node hands out no pod addresses: %s is draining", joinSubnets(f.Subnets))
	}
	// The reference plugin would create a missing bridge, without its address and nobody's to heal.
	br, err := findBridge(f.Bridge)
	if err != nil {
		return handoff.File{}, nil, err
	}
	return f, br, nil
}

// findBridge returns the bridge of that name in the plugin's own namespace.
func findBridge(name string) (*netlink.Bridge, error) {
	link, err := netlink.LinkByName(name)
	var notFound netlink.LinkNotFoundError
	switch {
	case errors.As(err, &notFound):
		return nil, fmt.Errorf("node has no pod network: bridge %s does not exist", name)
	case err != nil:
		return nil, fmt.Errorf("look up bridge %s: %w", name, err)
	}
	br, ok := link.(*netlink.Bridge)
	if !ok {
		return nil, fmt.Errorf("node has no pod network: %s is a %s, not a bridge", name, link.Type())
	}
	return br, nil
}

// checkBridge says why pods on the bridge are cut off: it is down, or lacks the gateway of a subnet, draining or not.
func checkBridge(br *netlink.Bridge, subnets []handoff.Subnet) error {
	if br.Flags&net.FlagUp == 0 {
		return fmt.Errorf("bridge %s is down", br.Name)
	}
	addrs, err := retryDump(func() ([]netlink.Addr, error) { return netlink.AddrList(br, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("list addresses of bridge %s: %w", br.Name, err)
	}
	have := make(map[string]bool, len(addrs))
	for _, a := range addrs {
		have[a.IP.String()] = true
	}
	for _, s := range subnets {
		if !have[s.Gateway.String()] {
			return fmt.Errorf("bridge %s lacks the gateway address %s of %s", br.Name, s.Gateway, s.Subnet)
		}
	}
	return nil
}

// retryDump repeats a netlink dump that was interrupted by a change, and gives up rather than use half of one.
func retryDump[T any](dump func() ([]T, error)) (list []T, err error) {
	const tries = 5
	for range tries {
		list, err = dump()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return list, err
		}
	}
	return nil, err
}

func joinSubnets(subnets []handoff.Subnet) string {
	var s []string
	for _, subnet := range subnets {
		s = append(s, subnet.Subnet.String())
	}
	return strings.Join(s, ", ")
}
