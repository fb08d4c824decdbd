package cni

import (
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
)

// Status says whether ADD would work. Code 50: no pod can be plugged in (no network, no subnet that hands out addresses, no
// bridge, a reference plugin missing). Code 51: those that are plugged in are cut off as well. Full subnets are no error:
// runtimes take the node for not ready on any, and its pods would be moved away for it.
//
// It runs no delegate: runtimes ask every few seconds, and the reference plugins only look for each other.
func (p *Plugin) Status(args *skel.CmdArgs) error {
	conf, err := parseConf(args.StdinData)
	if err != nil {
		return err
	}
	if err := conf.checkDelegate(); err != nil {
		return err
	}
	f, br, err := readUsableNetwork(conf.Handoff)
	if err != nil {
		return types.NewError(types.ErrPluginNotAvailable, err.Error(), whereToLook)
	}
	for _, plugin := range []string{bridgePlugin, ipamPlugin} {
		if _, err := p.find(plugin, args); err != nil {
			return types.NewError(types.ErrPluginNotAvailable, err.Error(), "")
		}
	}
	if err := checkBridge(br, f.Subnets); err != nil {
		return types.NewError(types.ErrLimitedConnectivity, err.Error(), whereToLook)
	}
	return nil
}
