package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/hopsack-net/hopsack/test/lab/internal/kubeconf"
)

// Load imports an OCI archive on every node that runs, where kubelets then find its images by their names. Images of the same
// name are replaced. It needs a lab with kubelets.
func (c *Cluster) Load(ctx context.Context, archive string) error {
	return c.withState(ctx, func(s *state) error {
		if s.Kubelet == nil {
			return errLight
		}
		group, ctx := errgroup.WithContext(ctx)
		for _, n := range s.Nodes {
			if c.Running(Containerd(n.Name)) {
				group.Go(func() error { return c.importImage(ctx, n.Name, archive) })
			}
		}
		if err := group.Wait(); err != nil {
			return err
		}
		c.say("image: %s", filepath.Base(archive))
		return nil
	})
}

// importImages imports what a node has not on its disk yet: the lab's own images, and those Up was given.
func (c *Cluster) importImages(ctx context.Context, s *state, node string) error {
	var archives []string
	for _, name := range nodeImages {
		archives = append(archives, c.nodeImage(name))
	}
	for _, archive := range append(archives, s.Kubelet.Images...) {
		info, err := os.Stat(archive)
		if err != nil {
			return fmt.Errorf("image: %w", err)
		}
		sum := sha256.Sum256([]byte(archive))
		mark := c.path("nodes", node, "images", hex.EncodeToString(sum[:8]))
		stamp := fmt.Sprintf("%s %d %d\n", archive, info.Size(), info.ModTime().UnixNano())
		if have, err := os.ReadFile(mark); err == nil && string(have) == stamp {
			continue
		}
		if err := c.importImage(ctx, node, archive); err != nil {
			return err
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(mark), 0o755), os.WriteFile(mark, []byte(stamp), 0o644)); err != nil {
			return err
		}
	}
	return nil
}

// importImage hands an archive to a node's containerd. The node need not see the file.
func (c *Cluster) importImage(ctx context.Context, node, archive string) error {
	f, err := os.Open(archive)
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	defer f.Close()
	cmd := exec.CommandContext(ctx, c.nodeBin("ctr"), "--address="+kubeconf.ContainerdSocket, "--namespace="+kubeconf.ContainerdNamespace, "images", "import", "-")
	var said strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = f, &said, &said
	if err := c.StartIn(node, cmd); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("import %s on node %s: %w: %s", archive, node, err, strings.TrimSpace(said.String()))
	}
	return nil
}
