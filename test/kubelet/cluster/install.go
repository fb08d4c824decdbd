package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Install installs hopsack as a user with kubectl does, from a kustomization; empty means config/default. It does not wait for
// anything.
func (c *Cluster) Install(ctx context.Context, kustomization string) error {
	if kustomization == "" {
		kustomization = c.path("config", "default")
	}
	_, err := c.Kubectl(ctx, "apply", "--server-side", "-k", kustomization)
	return err
}

// Helm runs the helm that the repository pins, from its top folder, as administrator of the cluster.
func (c *Cluster) Helm(ctx context.Context, args ...string) (string, error) {
	path, err := helmPath(ctx, c.Root)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = c.Root
	return c.asAdmin(ctx, cmd)
}

// helmPath is where the go command keeps helm, built.
func helmPath(ctx context.Context, root string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "tool", "-modfile="+filepath.Join(root, "hack", "tools", "helm", "go.mod"), "-n", "helm")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("build helm: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// asAdmin runs a command where the API server can be reached, with the administrator's credentials.
func (c *Cluster) asAdmin(ctx context.Context, cmd *exec.Cmd) (string, error) {
	var out, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &stderr
	cmd.Env = append(cmd.Environ(), "KUBECONFIG="+c.KubeconfigPath(), "PATH="+c.path("bin")+":"+c.path("bin", "controlplane")+":"+os.Getenv("PATH"))
	if err := c.StartIn("cp", cmd); err != nil {
		return "", err
	}
	if err := cmd.Wait(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return out.String(), nil
}

// ApplyFile applies a file as a user does, again until the API server accepts it: it takes a moment to serve kinds that are new.
func (c *Cluster) ApplyFile(ctx context.Context, path string) error {
	return c.Soon(ctx, path+" to be accepted", func() (bool, error) {
		_, err := c.Kubectl(ctx, "apply", "-f", path)
		return err == nil, err
	})
}

// Network applies a NetworkConfig and waits until pods have a network and names on every node.
func (c *Cluster) Network(ctx context.Context, path string) error {
	if err := c.ApplyFile(ctx, path); err != nil {
		return err
	}
	return c.AwaitNetwork(ctx)
}

// AwaitNetwork waits until the network is Ready on every node, every node is, and cluster DNS runs.
func (c *Cluster) AwaitNetwork(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
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
