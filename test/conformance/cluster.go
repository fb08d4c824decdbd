package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/hopsack-net/hopsack/test/kubelet/cluster"
)

// start brings a cluster up and installs hopsack as a user would, and returns when pods have a network and names. A
// cluster that is returned with an error is up and has to be taken down.
func start(ctx context.Context, s settings) (*cluster.Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	root, err := cluster.FindRoot()
	if err != nil {
		return nil, err
	}
	// Not a temporary folder: what the components said stays for whoever has to find out why a spec failed.
	c, err := cluster.Start(ctx, cluster.Options{Dir: filepath.Join(root, ".lab"), KubeProxy: s.proxy, Out: os.Stderr})
	if err != nil {
		return nil, err
	}
	if err := c.Install(ctx, ""); err != nil {
		return c, err
	}
	return c, c.Network(ctx, c.Sample(networks[s.backend]))
}

// test runs the specs from the control plane's place in the network. A spec that fails is an error as well.
func test(ctx context.Context, c *cluster.Cluster, s settings, report string) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	// In a folder with Go code ginkgo looks for suites of its own.
	dir, err := os.MkdirTemp("", "hopsack-conformance-")
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	defer os.RemoveAll(dir)
	log, err := os.Create(filepath.Join(report, logFile))
	if err != nil {
		return fmt.Errorf("make log: %w", err)
	}
	defer log.Close()
	bin := filepath.Join(c.Root, "bin", "kubelet")
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "ginkgo"),
		"--procs="+strconv.Itoa(s.procs), "--no-color", "--output-interceptor-mode=none", "--focus="+s.focus, "--timeout="+s.timeout.String(),
		filepath.Join(bin, "e2e.test"), "--",
		"--provider=skeleton", "--kubeconfig="+c.KubeconfigPath(), "--minStartupPods=0", "--allowed-not-ready-nodes=0", "--num-nodes=3",
		"--disable-log-dump", "--report-dir="+report)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	// Interrupted, it ends its processes and writes a report; who is left dies with the lab.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	if err := c.StartIn("cp", cmd); err != nil {
		return fmt.Errorf("start ginkgo: %w", err)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("run the tests (see %s): %w", log.Name(), err)
	}
	return nil
}
