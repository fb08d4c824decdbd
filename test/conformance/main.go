package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/hopsack-net/hopsack/test/kubelet/cluster"
	"github.com/hopsack-net/hopsack/test/lab"
)

// settings are the command's flags.
type settings struct {
	backend, proxy, focus string
	procs                 int
	timeout               time.Duration
	reports               string
}

// networks are the NetworkConfigs that may be chosen, as files among the samples.
var networks = map[string]string{"vxlan": "networkconfig.yaml", "direct": "networkconfig-direct.yaml", "udp": "networkconfig-udp.yaml"}

// startTimeout bounds the time until pods can run; an image may have to be imported by three busy nodes.
const startTimeout = 8 * time.Minute

// result is the command's last line. Seconds are those of the tests; StartSeconds those from nothing until the network is up.
type result struct {
	Bench        string  `json:"bench"`
	Backend      string  `json:"backend"`
	KubeProxy    string  `json:"kubeProxy"`
	StartSeconds float64 `json:"startSeconds"`
	counts
	Seconds float64 `json:"seconds"`
}

func main() {
	// Children are to die with this process, and the kernel means the thread that started them: it stays for good.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func parse(args []string) (settings, error) {
	var s settings
	fs := flag.NewFlagSet("conformance", flag.ContinueOnError)
	fs.StringVar(&s.backend, "backend", "vxlan", "pod network: vxlan, direct (routes on a segment, VXLAN beyond) or udp")
	fs.StringVar(&s.proxy, "kube-proxy", lab.ProxyNFTables, "mode of kube-proxy: nftables or iptables")
	fs.StringVar(&s.focus, "focus", `\[sig-network\].*\[Conformance\]`, "`expression` that the names of specs to run match")
	fs.IntVar(&s.procs, "procs", 4, "specs that run at a time")
	fs.DurationVar(&s.timeout, "timeout", 30*time.Minute, "how long the tests may take")
	fs.StringVar(&s.reports, "reports", "dist/conformance", "`folder` for reports; each choice of backend and mode has one in it")
	if err := fs.Parse(args); err != nil {
		return s, err
	}
	if fs.NArg() > 0 {
		return s, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if networks[s.backend] == "" {
		return s, fmt.Errorf("backend %q: want vxlan, direct or udp", s.backend)
	}
	if s.proxy != lab.ProxyNFTables && s.proxy != lab.ProxyIPTables {
		return s, fmt.Errorf("kube-proxy %q: want %s or %s", s.proxy, lab.ProxyNFTables, lab.ProxyIPTables)
	}
	return s, nil
}

func run(ctx context.Context, args []string) error {
	s, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("the lab makes network namespaces: run this as root (make conformance does)")
	}
	r, err := measure(ctx, s)
	if err != nil {
		return err
	}
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	fmt.Println(string(line))
	if r.Failed > 0 {
		return fmt.Errorf("%d specs failed: %s", r.Failed, strings.Join(r.Failures, "; "))
	}
	return nil
}

// measure runs the tests on a cluster of their own, which is down when it returns.
func measure(ctx context.Context, s settings) (r result, err error) {
	report, err := filepath.Abs(filepath.Join(s.reports, s.backend+"-"+s.proxy))
	if err != nil {
		return r, err
	}
	r = result{Bench: "conformance", Backend: s.backend, KubeProxy: s.proxy}
	started := time.Now()
	c, err := start(ctx, s)
	if c == nil {
		return r, err // perhaps a lab is up: the report may be that run's
	}
	defer func() { err = errors.Join(err, c.Down(ctx)) }()
	// A report of an earlier run is not to be taken for this one's.
	if e := os.RemoveAll(report); e != nil {
		return r, errors.Join(err, fmt.Errorf("remove old report: %w", e))
	}
	if e := os.MkdirAll(report, 0o755); e != nil {
		return r, errors.Join(err, fmt.Errorf("make report folder: %w", e))
	}
	if err != nil {
		return r, errors.Join(err, describe(ctx, c, report))
	}
	r.StartSeconds = seconds(time.Since(started))
	fmt.Fprintf(os.Stderr, "hopsack: installed and ready; specs run, %d at a time: %s\n", s.procs, filepath.Join(report, logFile))
	started = time.Now()
	testErr := test(ctx, c, s, report)
	r.Seconds = seconds(time.Since(started))
	if r.counts, err = readReport(filepath.Join(report, reportFile)); err != nil {
		return r, errors.Join(testErr, err)
	}
	if r.Passed+r.Failed == 0 {
		return r, errors.Join(testErr, fmt.Errorf("no spec matches %s", s.focus))
	}
	if r.Failed > 0 {
		return r, describe(ctx, c, report)
	}
	return r, testErr
}

// describe keeps what the cluster says of itself in a file of the report.
func describe(ctx context.Context, c *cluster.Cluster, report string) error {
	if err := os.WriteFile(filepath.Join(report, clusterFile), []byte(c.Describe(ctx)), 0o644); err != nil {
		return fmt.Errorf("keep what the cluster says: %w", err)
	}
	return nil
}

func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*10) / 10 }
