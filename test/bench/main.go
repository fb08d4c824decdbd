package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// settings are the command's flags.
type settings struct {
	idle time.Duration
	// inside names the case that this process, a child with namespaces of its own, runs.
	inside string
	// tunnel is the node whose udp tunnel this process, a child of a case, is.
	tunnel string
	// rollout is the case rollout's.
	rollout rolloutSettings
	kubelet kubeletSettings
}

// benchCase is one measurement: one line of JSON.
type benchCase struct {
	name string
	what string
	// asked says that the case runs only when it is named.
	asked bool
	// run runs the case in a child process with namespaces of its own; nil for a case of the lab.
	run func(ctx context.Context, s settings) error
	// onLab runs the case on the shared lab; nil for others.
	onLab func(ctx context.Context, s settings, l *benchmarkLab) error
	// alone runs the case in this process, with clusters of its own; nil for others.
	alone func(ctx context.Context, s settings) error
}

func allCases() []benchCase {
	return slices.Concat(peersCases(), cniCases(), datapathCases(), udpCases(), clusterCases(), rolloutCases(), kubeletCases())
}

func main() {
	// Children are to die with this process, and the kernel means the thread that started them: it stays for good.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var s settings
	var list bool
	flag.DurationVar(&s.idle, "idle", time.Minute, "how long the cases idle and kubelet-idle watch")
	flag.BoolVar(&list, "list", false, "list the cases and exit")
	flag.StringVar(&s.inside, "inside", "", "internal: run one case in this process")
	flag.StringVar(&s.tunnel, "tunnel", "", "internal: carry a node's packets over UDP")
	flag.IntVar(&s.rollout.rounds, "rounds", 10, "rollout: rounds of every chain of changes")
	flag.IntVar(&s.rollout.kills, "kills", 50, "rollout: how often agents and the controller are killed")
	flag.IntVar(&s.rollout.pauses, "pauses", 20, "rollout: how often the leader is paused past its lease")
	flag.StringVar(&s.rollout.parts, "parts", strings.Join(rolloutParts, ","), "rollout: what to run")
	s.kubelet.flags()
	flag.Usage = usage
	flag.Parse()
	if list {
		for _, c := range allCases() {
			fmt.Printf("%-18s %s\n", c.name, c.what)
		}
		return nil
	}
	if os.Geteuid() != 0 {
		return errors.New("benchmarks make network namespaces: run them as root (make bench does)")
	}
	if s.tunnel != "" {
		return runTunnel(s.tunnel)
	}
	if s.inside != "" {
		return runInside(ctx, s)
	}
	chosen, err := choose(flag.Args())
	if err != nil {
		return err
	}
	return runCases(ctx, s, chosen)
}

func usage() {
	fmt.Fprint(flag.CommandLine.Output(), `usage: bench [flags] [CASE...]

Run the cases, or all of them but rollout and those of kubelets, which have to be named. A case is named in full (peers/5000) or by its first part (peers); -list names all.
Root, the programs in bin/ and, for the cases of a cluster, bin/controlplane are needed: make lab builds them.

`)
	flag.PrintDefaults()
}

// choose returns the cases that the arguments name, in the order of the list.
func choose(names []string) ([]benchCase, error) {
	all := allCases()
	if len(names) == 0 {
		return slices.DeleteFunc(all, func(c benchCase) bool { return c.asked }), nil
	}
	named := map[string]bool{}
	for _, name := range names {
		found := false
		for _, c := range all {
			if c.name == name || strings.HasPrefix(c.name, name+"/") {
				named[c.name], found = true, true
			}
		}
		if !found {
			return nil, fmt.Errorf("no case %q: -list names all", name)
		}
	}
	return slices.DeleteFunc(all, func(c benchCase) bool { return !named[c.name] }), nil
}

// runCases runs every case, whatever became of the ones before.
func runCases(ctx context.Context, s settings, cases []benchCase) error {
	var failed []string
	note := func(name string, err error) {
		if err != nil {
			fmt.Fprintf(os.Stderr, "bench: %s failed: %v\n", name, err)
			failed = append(failed, name)
		}
	}
	for _, c := range cases {
		if c.run == nil || ctx.Err() != nil {
			continue
		}
		say("== %s: %s", c.name, c.what)
		note(c.name, runIsolated(ctx, s, c.name))
	}
	for _, c := range cases {
		if c.alone == nil || ctx.Err() != nil {
			continue
		}
		say("== %s: %s", c.name, c.what)
		note(c.name, c.alone(ctx, s))
	}
	cluster := slices.DeleteFunc(slices.Clone(cases), func(c benchCase) bool { return c.onLab == nil })
	if len(cluster) > 0 && ctx.Err() == nil {
		note("the lab", inLab(ctx, func(l *benchmarkLab) {
			for _, c := range cluster {
				if ctx.Err() == nil {
					say("== %s: %s", c.name, c.what)
					note(c.name, c.onLab(ctx, s, l))
				}
			}
		}))
	}
	if ctx.Err() != nil {
		return fmt.Errorf("stopped: %w", context.Cause(ctx))
	}
	if len(failed) > 0 {
		return fmt.Errorf("failed: %s", strings.Join(failed, ", "))
	}
	return nil
}
