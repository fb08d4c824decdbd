package cni

import (
	"errors"
	"fmt"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

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
	if err := finishAdd(args, f, br.Index); err != nil {
		return p.undoAdd(args, conf, err)
	}
	versioned, err := result.GetAsVersion(conf.CNIVersion)
	if err == nil {
		err = versioned.PrintTo(p.stdout())
	}
	if err != nil {
		return p.undoAdd(args, conf, fmt.Errorf("return the result: %w", err))
	}
	return nil
}

// finishAdd does what the delegate does not.
func finishAdd(args *skel.CmdArgs, f handoff.File, bridgeIndex int) error {
	// Had the bridge gone meanwhile, the delegate made one of its own, without addresses.
	br, err := findBridge(f.Bridge)
	if err != nil {
		return tryAgain(err)
	}
	if br.Index != bridgeIndex {
		return tryAgain(fmt.Errorf("bridge %s was replaced while the pod was plugged in", f.Bridge))
	}
	if f.RouteMTU == 0 {
		return nil
	}
	return setRouteMTU(args.Netns, args.IfName, f.RouteMTU)
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
