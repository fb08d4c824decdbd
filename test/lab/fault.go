package lab

import (
	"context"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Pause stops a component where it is (SIGSTOP), as a machine that swaps or is being migrated does. One that stands still
// already is success, one that does not run is an error.
func (c *Cluster) Pause(ctx context.Context, name string) error {
	return c.withState(ctx, func(s *state) error {
		if _, err := c.component(s, name); err != nil {
			return err
		}
		r, err := c.procs.Load(name)
		if err == nil {
			err = r.Stop(ctx)
		}
		if err != nil {
			return fmt.Errorf("pause %s: %w", name, err)
		}
		return nil
	})
}

// Resume lets a component that was paused go on. One that runs is success, one that is gone is an error.
func (c *Cluster) Resume(ctx context.Context, name string) error {
	return c.withState(ctx, func(s *state) error {
		if _, err := c.component(s, name); err != nil {
			return err
		}
		if _, err := c.PID(name); err != nil {
			return fmt.Errorf("resume %w", err)
		}
		r, err := c.procs.Load(name)
		if err != nil {
			return err
		}
		return r.Signal(unix.SIGCONT)
	})
}

// Paused says whether a component runs and stands still.
func (c *Cluster) Paused(name string) bool {
	r, err := c.procs.Load(name)
	return err == nil && r.Stopped()
}

// Cut says what a node is cut off from.
type Cut string

// Cuts.
const (
	// CutAPI: the control plane, and nothing else.
	CutAPI Cut = "api"
	// CutPeers: every address but the control plane's: other nodes, the client, what is behind the router.
	CutPeers Cut = "peers"
	// CutAll: everything, as if its cable had been pulled.
	CutAll Cut = "all"
)

// cuts are all there are.
var cuts = []Cut{CutAPI, CutPeers, CutAll}

// Cut has the switch drop a node's frames from now on, silently and in both directions. Nothing on the node changes, and a
// reboot of the node does not mend it. Cuts of a node add up.
func (c *Cluster) Cut(ctx context.Context, node string, what Cut) error {
	if !slices.Contains(cuts, what) {
		return fmt.Errorf("cut %q: want api, peers or all", what)
	}
	return c.withState(ctx, func(s *state) error {
		if _, ok := s.node(node); !ok {
			return fmt.Errorf("no node %s in the lab", node)
		}
		if slices.Contains(s.Cuts[node], what) {
			return c.enforceCuts(s)
		}
		if s.Cuts == nil {
			s.Cuts = map[string][]Cut{}
		}
		s.Cuts[node] = append(s.Cuts[node], what)
		if err := c.save(s); err != nil {
			return err
		}
		return c.enforceCuts(s)
	})
}

// Uncut mends every cut of a node. A node that is not cut off is success.
func (c *Cluster) Uncut(ctx context.Context, node string) error {
	return c.withState(ctx, func(s *state) error {
		if _, ok := s.node(node); !ok {
			return fmt.Errorf("no node %s in the lab", node)
		}
		delete(s.Cuts, node)
		if err := c.save(s); err != nil {
			return err
		}
		return c.enforceCuts(s)
	})
}

// forgetFaults removes a node's faults from the lab and saves it.
func (c *Cluster) forgetFaults(s *state, node string) error {
	delete(s.Cuts, node)
	delete(s.Delays, node)
	if err := removeFile(c.delayPath(node)); err != nil {
		return err
	}
	if err := c.save(s); err != nil {
		return err
	}
	return c.enforceCuts(s)
}

// enforceCuts replaces the switch's packet filter by what the state says, in one step.
func (c *Cluster) enforceCuts(s *state) error {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(cutRules(s.Cuts))
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	err := c.StartIn(placeSwitch, cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return fmt.Errorf("filter frames in the switch: %w: %s", err, strings.TrimSpace(out.String()))
	}
	return nil
}

// cutRules is the packet filter of the switch: a table of the lab's own, in the bridge family, so that neither nodes nor
// router have a part in it. Addresses are still resolved (ARP), except where all is cut.
func cutRules(all map[string][]Cut) string {
	var b strings.Builder
	b.WriteString("table bridge lab\ndelete table bridge lab\n")
	if len(all) == 0 {
		return b.String()
	}
	b.WriteString("table bridge lab {\n\tchain cut {\n\t\ttype filter hook forward priority filter; policy accept;\n")
	for _, node := range slices.Sorted(maps.Keys(all)) {
		for _, what := range all[node] {
			from, to := fmt.Sprintf("\t\tiifname \"p-%s\" ", node), fmt.Sprintf("\t\toifname \"p-%s\" ", node)
			switch what {
			case CutAPI:
				fmt.Fprintf(&b, "%sip daddr %s drop\n%sip saddr %s drop\n", from, controlPlaneAddr.Addr(), to, controlPlaneAddr.Addr())
			case CutPeers:
				fmt.Fprintf(&b, "%sip daddr != %s drop\n%sip saddr != %s drop\n", from, controlPlaneAddr.Addr(), to, controlPlaneAddr.Addr())
				fmt.Fprintf(&b, "%sether type ip6 drop\n%sether type ip6 drop\n", from, to)
			case CutAll:
				fmt.Fprintf(&b, "%sdrop\n%sdrop\n", from, to)
			}
		}
	}
	b.WriteString("\t}\n}\n")
	return b.String()
}
