// Command hopsack-cni is the CNI plugin; it is installed as "hopsack" beside the reference plugins.
package main

import (
	"github.com/containernetworking/cni/pkg/skel"

	"github.com/hopsack-net/hopsack/cni"
	"github.com/hopsack-net/hopsack/internal/version"
)

func main() {
	skel.PluginMainFuncs((&cni.Plugin{}).Funcs(), cni.SupportedVersions(), "CNI plugin hopsack "+version.Line()+": plugs pods into the bridge of the hopsack agent")
}
