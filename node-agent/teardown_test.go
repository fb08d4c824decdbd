package nodeagent

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/hopsack-net/hopsack/node-agent/store"
)

// An agent may end at any moment after it has cleaned the node: what it hears meanwhile, such as of peers that leave, is not left
// on disk.
func TestNothingIsSavedAfterATeardown(t *testing.T) {
	a, _ := newAgent(t)
	withPlugins(t, a)
	file := filepath.Join(a.opts.StateDir, store.FileName)
	runPass(t, a)
	if !exists(file) {
		t.Fatal("the network is not on disk")
	}
	a.view.setNode(teardown(2))
	runPass(t, a)
	if exists(file) {
		t.Fatal("the network is still on disk")
	}
	a.view.touch()
	ended, end := context.WithCancel(context.Background())
	end()
	put(t, filepath.Join(a.plugins.to, ".hopsack-plugins.json"), "{")
	if err := a.pass(ended, false); err == nil {
		t.Fatal("the pass went through")
	}
	if exists(file) {
		t.Error("a pass that did not go through left the network on disk")
	}
}
