package cni

import (
	"github.com/containernetworking/cni/pkg/skel"
)

// Check says whether the pod is still plugged in as ADD left it, and whether its default routes have the mtu the hand-off
// file names now: the agent changes it in running pods when the backend changes.
func (p *Plugin) Check(args *skel.CmdArgs) error {
	conf, err := parseConf(args.StdinData)
	if err != nil {
		return err
	}
	if err := conf.checkDelegate(); err != nil {
		return err
	}
	// Draining subnets keep their pods, so a node without usable subnets is fine here.
	f, err := readNetwork(conf.Handoff)
	if err != nil {
		return tryAgain(err)
	}
	br, err := findBridge(f.Bridge)
	if err != nil {
		return tryAgain(err)
	}
	bridgeConf, _, err := conf.bridgeConf(map[string]any{
		"bridge": f.Bridge,
		"ipam":   conf.otherIPAM(),
		// The delegate compares this with the bridge. A tcpdump on the bridge is no fault of the pod.
		"promiscMode": br.Promisc != 0,
	})
	if err != nil {
		return err
	}
	if err := p.delegate("CHECK", args, bridgeConf); err != nil {
		return err
	}
	if f.RouteMTU == 0 {
		return nil
	}
	return checkRouteMTU(args.Netns, args.IfName, f.RouteMTU)
}
