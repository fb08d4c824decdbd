package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/hopsack-net/hopsack/test/lab"
)

// install brings the lab up and installs hopsack as a user would, and returns when pods have a network and names.
func install(ctx context.Context, c *lab.Cluster, s settings) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	options := lab.KubeletOptions{ProxyMode: s.proxy, Images: []string{
		filepath.Join(s.images, "hopsack-agent.tar"), filepath.Join(s.images, "hopsack-controller.tar"),
		filepath.Join(s.bin, "kubelet", "images", "agnhost.tar"), filepath.Join(s.bin, "kubelet", "images", "busybox.tar"),
	}}
	if err := c.Up(ctx, lab.Options{Nodes: 3, Routed: 1, Kubelet: &options}); err != nil {
		return fmt.Errorf("start the lab: %w", err)
	}
	if _, err := c.Kubectl(ctx, "apply", "--server-side", "-k", s.manifests); err != nil {
		return err
	}
	network := filepath.Join(s.networkFiles, networks[s.backend])
	// The API server takes a moment to serve kinds that are new.
	err := c.Wait(ctx, "the NetworkConfig to be accepted", func() (bool, error) {
		_, err := c.Kubectl(ctx, "apply", "-f", network)
		return err == nil, err
	})
	if err != nil {
		return err
	}
	if err := c.WaitReady(ctx); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"wait", "--for=condition=Ready", "node", "--all", "--timeout=2m"},
		{"rollout", "status", "-n", "kube-system", "deploy/coredns", "--timeout=2m"},
	} {
		if _, err := c.Kubectl(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// test runs the specs from the control plane's place in the network. A spec that fails is an error as well.
func test(ctx context.Context, c *lab.Cluster, s settings, report string) error {
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
	bin, err := filepath.Abs(filepath.Join(s.bin, "kubelet"))
	if err != nil {
		return err
	}
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
