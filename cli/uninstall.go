package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

func newUninstallCommand(s *session) *cobra.Command {
	u := &uninstall{s: s, clean: map[string]bool{}}
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Take the pod network and hopsack away: nodes first, then objects, then manifests",
		Long: `Take the pod network and hopsack away, in the order that leaves nothing behind:

  1. every node's agent removes what it made and says so in its NodeNetwork
  2. leases, NodeNetworks and the NetworkConfig go
  3. what the manifests installed goes, by the label ` + manifestLabel + `=` + manifestName + `; what Helm installed
     is left to "helm uninstall"
  4. with --crds, the CRDs go, and with them the leases that users reserved

PODS LOSE THEIR NETWORK. Without --yes it says what it would do, and does nothing. It may be interrupted, and goes on when it is
run again. It never talks to nodes: where an agent cannot say that it is done, run "hopsack-agent cleanup --yes" on the node.

Exit codes: 0 done, 1 error or no --yes, 2 some node was not or cannot be cleaned, 3 not over within --timeout.`,
		Example: `  # What would be done, and to what?
  kubectl hopsack uninstall

  kubectl hopsack uninstall --yes --crds

  # A node is broken for good
  kubectl hopsack uninstall --yes --skip-not-ready

  # Agents and controller are gone and will not come back
  kubectl hopsack uninstall --yes --timeout 10s --force-finalizers`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f := cmd.Flags()
	f.BoolVar(&u.yes, "yes", false, "Do it")
	f.BoolVar(&u.crds, "crds", false, "Delete the CRDs as well, and with them reserved leases")
	f.BoolVar(&u.skipNotReady, "skip-not-ready", false, "Go on without nodes that are not Ready; what hopsack made stays on them")
	f.BoolVar(&u.force, "force-finalizers", false, "When --timeout is over, go on without the agents that have not confirmed, and take the finalizers off")
	f.DurationVar(&u.timeout, "timeout", 5*time.Minute, "How long to wait for the agents, and for objects to go")
	f.DurationVar(&u.patience, "controller-patience", 15*time.Second, "How long the controller may do nothing before its part is done from here")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if u.timeout <= 0 {
			return fmt.Errorf("--timeout: %s is not positive", u.timeout)
		}
		if u.patience <= 0 {
			return fmt.Errorf("--controller-patience: %s is not positive", u.patience)
		}
		c, err := s.connect()
		if err != nil {
			return err
		}
		u.c, u.deadline = c, time.Now().Add(u.timeout)
		return u.run(cmd.Context())
	}
	return cmd
}

// uninstall is one run of the command.
type uninstall struct {
	s *session
	c client.WithWatch
	// The flags.
	yes, crds, skipNotReady, force bool
	timeout, patience              time.Duration

	deadline time.Time
	// clean are the nodes whose agents have confirmed, users how many were to be asked.
	clean map[string]bool
	users int
}

func (u *uninstall) printf(format string, args ...any) {
	fmt.Fprintf(u.s.Out, format+"\n", args...)
}

func (u *uninstall) run(ctx context.Context) error {
	r, err := look(ctx, u.c)
	if err != nil {
		return err
	}
	m, err := findManifests(ctx, u.c)
	if err != nil {
		return err
	}
	if r.nothing() && len(m.objects) == 0 && len(m.helm) == 0 && (len(r.crds) == 0 || !u.crds) {
		u.printf("Nothing is left to remove%s.", keptCRDs(r))
		return nil
	}
	if u.crds && len(m.helm) > 0 {
		return fmt.Errorf("--crds: Helm's %s still needs them: uninstall without --crds, then run %q, then this again",
			m.helm[0], m.helm[0].command())
	}
	u.printPlan(ctx, r, m)
	if err := u.mayStart(r); err != nil {
		return err
	}
	if !u.yes {
		return exitWith(ExitError, "nothing was changed: say --yes to do this")
	}
	if !r.nothing() {
		if err := u.removeNetwork(ctx, r); err != nil {
			return err
		}
	}
	if err := u.releaseNodes(ctx, r); err != nil {
		return err
	}
	return u.removeManifests(ctx, m)
}

// mayStart refuses what could not be finished, before anything is changed.
func (u *uninstall) mayStart(r *remains) error {
	if down := pick(r.inUse(), func(n nodeUse) bool { return !n.ready && !n.clean }); len(down) > 0 && !u.skipNotReady && !u.force {
		return exitWith(ExitFailed, "%s cannot be cleaned, being not Ready: bring %s back, or say --skip-not-ready and run %q there later",
			firstNames(down), itOrThem(len(down)), cleanupCommand)
	}
	if r.mute() && !u.force {
		return exitWith(ExitFailed, "the CRD %s is gone, so that agents can neither be asked nor answer: apply the manifests again (the same version) "+
			"and run this again, or say --force-finalizers and run %q on every node", nodeNetworksCRD, cleanupCommand)
	}
	return nil
}

// printPlan says what the run does, or would do.
func (u *uninstall) printPlan(ctx context.Context, r *remains, m manifests) {
	u.printf("This removes hopsack, the pod network of this cluster:")
	if all := pick(r.inUse(), func(nodeUse) bool { return true }); len(all) > 0 {
		u.printf("  1. clean %s: %s; %s", plural(len(all), "node"), firstNames(all), countPods(ctx, u.c))
	} else {
		u.printf("  1. no node uses a network")
	}
	config := ""
	if r.config != nil {
		config = " and networkconfig " + r.config.Name
		if who := managedBy(r.config); who != "" {
			fmt.Fprintf(u.s.ErrOut, "warning: networkconfig %s is managed by %s, which will make it again: remove it there first\n", r.config.Name, who)
		}
	}
	u.printf("  2. delete %s, %s%s", plural(len(r.leases)-len(r.reserved()), "lease"), plural(len(r.networks), "nodenetwork"), config)
	u.printf("  3. delete %s of the manifests", plural(len(m.objects), "object"))
	for _, o := range m.objects {
		u.printf("     %s%s", o, o.note)
	}
	for _, why := range m.kept {
		u.printf("     (%s)", why)
	}
	for _, release := range m.helm {
		u.printf("     (Helm's %s stays: run %q afterwards)", release, release.command())
	}
	switch reserved := strings.Join(r.reserved(), ", "); {
	case u.crds && reserved != "":
		u.printf("  4. delete the CRDs, and with them what was reserved: %s", reserved)
	case u.crds:
		u.printf("  4. delete the CRDs")
	default:
		u.printf("  4. the CRDs stay (--crds deletes them)")
	}
}

// keptCRDs says which CRDs are still there.
func keptCRDs(r *remains) string {
	if len(r.crds) == 0 {
		return ""
	}
	return " but the CRDs (--crds)"
}

// cleanupCommand is what cleans a node without the API server.
const cleanupCommand = "hopsack-agent cleanup --yes"

func itOrThem(n int) string {
	if n == 1 {
		return "it"
	}
	return "them"
}

// maxNames is how many names a message lists.
const maxNames = 16

// firstNames lists names, not all of them in a large cluster.
func firstNames(all []string) string {
	if len(all) <= maxNames {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:maxNames], ", "), len(all)-maxNames)
}

// confirm lets the network go and deletes it, both only once.
func (u *uninstall) confirm(ctx context.Context, cfg *v1alpha1.NetworkConfig) error {
	if cfg.Annotations[v1alpha1.TeardownAnnotation] != v1alpha1.TeardownConfirmed {
		before := cfg.DeepCopy()
		annotate(cfg, v1alpha1.TeardownAnnotation, v1alpha1.TeardownConfirmed)
		if err := u.c.Patch(ctx, cfg, client.MergeFrom(before), client.FieldOwner(fieldOwner)); err != nil {
			return explain(client.IgnoreNotFound(err), "confirm the teardown in networkconfig "+cfg.Name)
		}
	}
	if cfg.DeletionTimestamp.IsZero() {
		err := u.c.Delete(ctx, cfg, client.Preconditions{UID: &cfg.UID})
		return explain(client.IgnoreNotFound(err), "delete networkconfig "+cfg.Name)
	}
	return nil
}
