package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"github.com/hopsack-net/hopsack/internal/handoff"
)

// Add plugs a pod in: a veth to the bridge, one address per family, a default route with the mtu of the hand-off file. When
// it fails after the delegate is done, it undoes everything. Code 11 means that it may well work later.
func (p *Plugin) Add(args *skel.CmdArgs) error {
	conf, err := parseConf(args.StdinData)
	if err != nil {
		return err
	}
	if len(conf.PrevResult) > 0 {
		return invalidConf("hopsack must be the first plugin of %s: it makes the interface other plugins work on", conf.Name)
	}
	if err := conf.checkDelegate(); err != nil {
		return err
	}
	f, br, err := readUsableNetwork(conf.Handoff)
	if err != nil {
		return tryAgain(err)
	}
	bridgeConf, overrides, err := conf.addConf(f)
	if err != nil {
		return err
	}
	for _, o := range overrides {
		p.say("%s", o)
	}
	result, err := p.delegateAdd(args, bridgeConf)
	if err != nil {
		return explainAdd(err, f)
	}
	w, err := wiringOf(result, bridgeConf)
	if err == nil {
		err = finishAdd(args, conf.Handoff, f, br, w)
	}
	if err == nil {
		err = p.print(result, conf.CNIVersion)
	}
	if err != nil {
		return p.undoAdd(args, conf, err)
	}
	return nil
}

func (p *Plugin) print(result types.Result, version string) error {
	versioned, err := result.GetAsVersion(version)
	if err == nil {
		err = versioned.PrintTo(p.stdout())
	}
	if err != nil {
		return fmt.Errorf("return the result: %w", err)
	}
	return nil
}

// wiring is what the delegate made of a pod, as far as the rest of ADD needs it.
type wiring struct {
	addrs []netip.Addr
	// port is the name of the pod's port on the bridge, mark the ifalias that says so.
	port, mark string
}

// wiringOf takes it from the delegate's result and from the configuration the delegate was given.
func wiringOf(result types.Result, bridgeConf []byte) (wiring, error) {
	r, err := current.NewResultFromResult(result)
	if err != nil {
		return wiring{}, fmt.Errorf("read the result of %s: %w", bridgePlugin, err)
	}
	var w wiring
	if w.addrs, err = podAddrs(r); err != nil {
		return wiring{}, err
	}
	var conf struct {
		Bridge                     string
		HairpinMode, PortIsolation bool
	}
	if err := json.Unmarshal(bridgeConf, &conf); err != nil {
		return wiring{}, fmt.Errorf("read the configuration of %s: %w", bridgePlugin, err)
	}
	w.mark = handoff.Port{Hairpin: conf.HairpinMode, Isolated: conf.PortIsolation}.Alias()
	for _, i := range r.Interfaces {
		if i.Sandbox == "" && i.Name != conf.Bridge {
			w.port = i.Name
		}
	}
	if w.port == "" {
		return wiring{}, fmt.Errorf("read the result of %s: it names no port of %s", bridgePlugin, conf.Bridge)
	}
	return w, nil
}

// markPort lets the agent know the pod's port as one to put back onto the bridge. It is not marked earlier: the agent would
// otherwise meddle with what the delegate is doing.
func (w wiring) markPort() error {
	port, err := netlink.LinkByName(w.port)
	if err != nil {
		return fmt.Errorf("look up the pod's port %s: %w", w.port, err)
	}
	if err := netlink.LinkSetAlias(port, w.mark); err != nil {
		return fmt.Errorf("mark the pod's port %s: %w", w.port, err)
	}
	return nil
}

// finishAdd does what the delegate does not: the mark on the pod's port, the record of the pod and the mtu of the default routes.
// It then makes sure that the network is still the one the pod was plugged into. The agent writes the file and visits the pods
// that have a record after that, so a pod whose record it came too early to see must look at the file once more, or it would keep
// an mtu that no longer holds.
func finishAdd(args *skel.CmdArgs, path string, f handoff.File, br *netlink.Bridge, w wiring) error {
	if err := w.markPort(); err != nil { // should the bridge go from now on, the agent puts the port onto the next one
		return err
	}
	record := handoff.Pod{ContainerID: args.ContainerID, IfName: args.IfName, Netns: args.Netns}
	if err := handoff.WritePod(handoff.PodsDir(path), record); err != nil {
		return fmt.Errorf("record the pod for the agent: %w", err)
	}
	for {
		if err := setRouteMTU(args.Netns, args.IfName, f.RouteMTU); err != nil {
			return err
		}
		now, nowBr, err := readUsableNetwork(path)
		switch {
		case err != nil:
			return tryAgain(err)
		case nowBr.Index != br.Index: // had it gone, the delegate made one of its own, without addresses
			return tryAgain(fmt.Errorf("bridge %s was replaced while the pod was plugged in", f.Bridge))
		case now.MTU != f.MTU:
			return tryAgain(fmt.Errorf("mtu changed from %d to %d while the pod was plugged in", f.MTU, now.MTU))
		}
		for _, addr := range w.addrs {
			if !slices.ContainsFunc(now.Usable(), func(s handoff.Subnet) bool { return s.Subnet.Contains(addr) }) {
				return tryAgain(fmt.Errorf("subnet of %s began to drain while the pod was plugged in", addr))
			}
		}
		if now.RouteMTU == f.RouteMTU {
			return nil
		}
		f = now
	}
}

// podAddrs returns the addresses a result names.
func podAddrs(r *current.Result) ([]netip.Addr, error) {
	var addrs []netip.Addr
	for _, ip := range r.IPs {
		addr, ok := netip.AddrFromSlice(ip.Address.IP)
		if !ok {
			return nil, fmt.Errorf("read the result of %s: %v is no address", bridgePlugin, ip.Address)
		}
		addrs = append(addrs, addr.Unmap())
	}
	return addrs, nil
}

// undoAdd takes the pod off again, so that its address is not lost if the runtime sends no DEL. It returns cause, with its
// code.
func (p *Plugin) undoAdd(args *skel.CmdArgs, conf netConf, cause error) error {
	err := p.del(args, conf)
	if err == nil {
		return cause
	}
	var e *types.Error
	if errors.As(cause, &e) {
		return types.NewError(e.Code, e.Msg, fmt.Sprintf("%s; undo: %v", e.Details, err))
	}
	return types.NewError(types.ErrInternal, cause.Error(), fmt.Sprintf("undo: %v", err))
}

// explainAdd turns host-local's error about a full range into one that names the subnets. host-local has no code for it, so
// its words are what there is to go by.
func explainAdd(err error, f handoff.File) error {
	var e *types.Error
	if !errors.As(err, &e) || !strings.Contains(e.Msg, "no IP addresses available in range set") {
		return err
	}
	for i, set := range rangeSets(f.Usable()) {
		if !strings.Contains(e.Msg, fmt.Sprintf("for range %d:", i)) {
			continue
		}
		var full []string
		for _, r := range set {
			full = append(full, fmt.Sprintf("%s (pods have %s to %s)", r.Subnet, r.RangeStart, r.RangeEnd))
		}
		return types.NewError(types.ErrTryAgainLater, "no pod address is free on this node: in use are all of "+strings.Join(full, ", "),
			"an address comes back when a pod goes; a node's addresses are those of its leases: kubectl get subnetleases")
	}
	return err
}
