package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/hopsack-net/hopsack/hack/image/oci"
)

// The image brings an nft of its own to nodes where others, kube-proxy's above all, read every table: what it makes of the
// agent's must not crash an older one. Here that is the machine's.
func TestOlderNFTReadsTables(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	o, err := parse([]string{"-version", "v1.2.3", "-out", t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	b, err := newBuilder(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var tree oci.Tree
	if _, err := b.agentBase(&tree, runtime.GOARCH); err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := tree.Write(root); err != nil {
		t.Fatal(err)
	}
	tables, err := filepath.Glob("node-agent/nft/testdata/*.golden")
	if err != nil || len(tables) == 0 {
		t.Fatalf("got %d tables, error %v", len(tables), err)
	}
	for _, path := range tables {
		t.Run(filepath.Base(path), func(t *testing.T) {
			table, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer table.Close()
			// The network namespace ends with the command.
			cmd := exec.Command("unshare", "--net", "sh", "-ec", `chroot "$0" /usr/sbin/nft -f -; nft list ruleset`, root)
			cmd.Stdin = table
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "set peers4") {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}
