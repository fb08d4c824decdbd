package desired

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/handoff"
	"github.com/hopsack-net/hopsack/internal/network"
)

// files adds what scripts and the container runtime read. The hand-off comes last: with it in place, pods may start.
func (c *computer) files() {
	n := c.in.Node
	c.state.Files = append(c.state.Files, File{c.in.Paths.SubnetEnv, subnetEnv(n, PodMTU(n, c.in.Facts.Underlay))})
	if n.CNI.Conflist {
		content, err := conflist(n.CNI, c.in.Paths.Handoff)
		if err != nil {
			c.problem(v1alpha1.ReasonForeignCNI, "%v", err)
		} else {
			c.state.Files = append(c.state.Files, File{c.in.Paths.Conflist, content})
		}
	}
	content, err := handoff.Marshal(c.handoff())
	if err != nil {
		c.problem(v1alpha1.ReasonProgrammingFailed, "%v", err)
		return
	}
	if !c.in.NoNewPods {
		c.state.Files = append(c.state.Files, File{c.in.Paths.Handoff, string(content)})
	}
}

// SubnetEnvMark opens the file with the FLANNEL_ variables, so that hopsack knows its own from flannel's.
const SubnetEnvMark = "# written by hopsack-agent"

// subnetEnv is flannel's file for scripts and for Docker. Where there are several networks or subnets it has the first that
// is in use, as flannel's readers expect one.
func subnetEnv(n network.Node, mtu int) string {
	stable := n.StableSubnet()
	var podNetwork string
	for _, p := range n.PodNetworks {
		if p.Overlaps(stable) {
			podNetwork = p.String()
			break
		}
	}
	var out strings.Builder
	fmt.Fprintln(&out, SubnetEnvMark)
	fmt.Fprintf(&out, "FLANNEL_NETWORK=%s\n", podNetwork)
	fmt.Fprintf(&out, "FLANNEL_SUBNET=%s/%d\n", network.Gateway(stable), stable.Bits())
	fmt.Fprintf(&out, "FLANNEL_MTU=%d\n", mtu)
	fmt.Fprintf(&out, "FLANNEL_IPMASQ=%t\n", n.Masquerade.Enabled)
	return out.String()
}

// conflist is the CNI network configuration list (CNI specification 1.1.0, section 1). Runtimes take the newest version that they
// know; one that knows 1.1.0 asks by STATUS whether pods can be plugged in, and has the node not ready until they can, a boot
// included, which the file outlives. Further plugins are the user's and may be older than that: they would refuse every pod.
func conflist(cni network.CNI, handoffPath string) (string, error) {
	plugins := []map[string]any{{"type": "hopsack", "handoff": handoffPath}}
	if cni.PortMappings {
		plugins = append(plugins, map[string]any{
			"type": "portmap", "snat": true, "capabilities": map[string]bool{"portMappings": true},
		})
	}
	for _, p := range cni.Plugins {
		conf := map[string]any{}
		if p.Config != nil && len(p.Config.Raw) > 0 {
			if err := json.Unmarshal(p.Config.Raw, &conf); err != nil {
				return "", fmt.Errorf("spec.cni.plugins: config of %s: %w", p.Type, err)
			}
		}
		conf["type"] = p.Type
		plugins = append(plugins, conf)
	}
	list := map[string]any{"cniVersion": "1.0.0", "name": "hopsack", "plugins": plugins}
	if len(cni.Plugins) == 0 {
		list["cniVersions"] = []string{"1.0.0", "1.1.0"}
	}
	out, err := json.MarshalIndent(list, "", "  ")
	return string(out) + "\n", err
}

// handoff tells the CNI plugin what it cannot find out: which subnets, which bridge, which MTUs.
func (c *computer) handoff() handoff.File {
	n, u := c.in.Node, c.in.Facts.Underlay
	f := handoff.File{Version: handoff.Version, Bridge: n.CNI.Bridge, MTU: u.MTU, RouteMTU: routeMTU(n, u), HairpinMode: n.CNI.Hairpin}
	for _, s := range n.Subnets {
		f.Subnets = append(f.Subnets, handoff.Subnet{Subnet: s.Prefix, Gateway: network.Gateway(s.Prefix), Draining: s.Draining})
	}
	return f
}
