package docs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/hopsack-net/hopsack/test/docs"
	"github.com/hopsack-net/hopsack/test/kubelet/cluster"
)

// user is the reader of the documentation: where he sits, and what he has at hand.
type user struct {
	cluster *cluster.Cluster
	// dir looks like a checkout of the repository in which images and manifests were made.
	dir  string
	path string
}

// sudo stands in for the program: the user is root already.
const sudo = "#!/bin/sh\nexec \"$@\"\n"

func newUser(t *testing.T, c *cluster.Cluster) *user {
	t.Helper()
	u := &user{cluster: c, dir: t.TempDir()}
	bin := filepath.Join(u.dir, ".bin")
	links := map[string]string{
		"bin": filepath.Join(c.Root, "bin"), "charts": filepath.Join(c.Root, "charts"), "config": filepath.Join(c.Root, "config"),
		"dist/install.yaml":           filepath.Join(c.Root, "dist", "install.yaml"),
		"dist/hopsack-agent.tar":      c.Image("hopsack-agent.tar"),
		"dist/hopsack-controller.tar": c.Image("hopsack-controller.tar"),
		".bin/ctr":                    filepath.Join(c.Root, "bin", "kubelet", "ctr"),
		".bin/helm":                   helm(t, c.Root),
	}
	for name, target := range links {
		if _, err := os.Stat(target); err != nil {
			t.Fatalf("%v: make kubelet-images manifests", err)
		}
		path := filepath.Join(u.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(bin, "sudo"), []byte(sudo), 0o755); err != nil {
		t.Fatal(err)
	}
	u.path = strings.Join([]string{bin, filepath.Join(c.Root, "bin"), filepath.Join(c.Root, "bin", "controlplane"), os.Getenv("PATH")}, ":")
	// What the pages call the user's own file.
	if err := u.write("networkconfig.yaml", "config/samples/networkconfig-vni.yaml"); err != nil {
		t.Fatal(err)
	}
	makeNodeArchive(t, c.Root, filepath.Join(u.dir, "dist"))
	for _, node := range []string{"n1", "n2", "n3"} {
		// Every host with systemd has these.
		if _, err := c.Sh(t.Context(), node, "mkdir -p /etc/systemd/system /etc/modules-load.d"); err != nil {
			t.Fatal(err)
		}
	}
	return u
}

// write copies a file of the repository into the user's folder.
func (u *user) write(name, from string) error {
	raw, err := os.ReadFile(filepath.Join(u.cluster.Root, from))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(u.dir, name), raw, 0o644)
}

func helm(t *testing.T, root string) string {
	t.Helper()
	cmd := exec.Command("go", "tool", "-modfile="+filepath.Join(root, "hack", "tools", "helm", "go.mod"), "-n", "helm")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("build helm: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// makeNodeArchive makes what nodes get that run the agent as a service.
func makeNodeArchive(t *testing.T, root, dir string) {
	t.Helper()
	manifest, err := os.ReadFile(filepath.Join(root, "config", "default", "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, version, _ := strings.Cut(string(manifest), "newTag: ")
	version, _, _ = strings.Cut(version, "\n")
	cmd := exec.Command("go", "run", "./hack/image", "-version", strings.TrimSpace(version), "-only", "node", "-platforms", "linux/"+runtime.GOARCH, "-out", dir)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make the archive for nodes: %v\n%s", err, out)
	}
}

// labOnly says whether a block is about a lab of the reader's own, which tryOut runs.
func labOnly(b docs.Block) bool {
	for _, c := range b.Commands {
		if strings.HasPrefix(c.Text, "sudo bin/lab up ") {
			return true
		}
	}
	return false
}

// tryOut runs what the README says about a cluster to play with, before there is another one.
func tryOut(t *testing.T, root string) {
	t.Helper()
	blocks, err := docs.Read(root, "README.md")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dir, bin := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "sudo"), []byte(sudo), 0o755); err != nil {
		t.Fatal(err)
	}
	defer func() {
		// The block does this itself, unless something before it failed.
		if out, err := exec.Command(filepath.Join(root, "bin", "lab"), "down", "--dir", dir).CombinedOutput(); err != nil {
			t.Errorf("take the lab down: %v\n%s", err, out)
		}
	}()
	for _, b := range blocks {
		if !labOnly(b) {
			continue
		}
		for _, command := range b.Commands {
			if !docs.IsRun(command) {
				continue
			}
			cmd := exec.CommandContext(ctx, "bash", "-e", "-c", command.Text)
			cmd.Dir = root
			cmd.Env = append(os.Environ(), "HOPSACK_LAB_DIR="+dir, fmt.Sprintf("PATH=%s:%s", bin, os.Getenv("PATH")))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("README.md:%d: %s: %v\n%s", command.Line, command.Text, err, out)
			}
		}
		return
	}
	t.Error("README.md has no block that starts a lab")
}
