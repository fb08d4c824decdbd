package cni

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/plugins/pkg/ns"

	"github.com/hopsack-net/hopsack/internal/handoff"
)

// Del takes a pod off the bridge, releases its addresses and removes its record. It needs neither the hand-off file nor the bridge, and what is
// gone already is no error, so it may be repeated.
func (p *Plugin) Del(args *skel.CmdArgs) error {
	conf, err := parseConf(args.StdinData)
	if err != nil {
		return err
	}
	return p.del(args, conf)
}

func (p *Plugin) del(args *skel.CmdArgs, conf netConf) error {
	if err := handoff.RemovePod(handoff.PodsDir(conf.Handoff), args.ContainerID, args.IfName); err != nil {
		return fmt.Errorf("remove the record of the pod: %w", err)
	}
	decided := map[string]any{}
	// Without the directory no address is in use, and host-local would make one that nobody removes.
	switch _, err := os.Stat(conf.dataDir()); {
	case err == nil:
		decided["ipam"] = conf.otherIPAM()
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("look for addresses in use: %w", err)
	}
	bridgeConf, _, err := conf.bridgeConf(decided)
	if err != nil {
		return err
	}
	return p.delegate("DEL", withoutDeadNetns(args), bridgeConf)
}

// withoutDeadNetns leaves out a namespace of which only the mount point is left: the delegate takes a missing path for gone,
// but fails on a plain file for ever.
func withoutDeadNetns(args *skel.CmdArgs) *skel.CmdArgs {
	var notNS ns.NSPathNotNSErr
	if args.Netns == "" || !errors.As(ns.IsNSorErr(args.Netns), &notNS) {
		return args
	}
	without := *args
	without.Netns = ""
	return &without
}
