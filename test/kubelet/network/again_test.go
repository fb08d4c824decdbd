package network

import (
	"context"
	"fmt"
	"testing"
)

// stepAgain deletes the NetworkConfig. Nothing may change until that is confirmed; then every node says that it has no network, and
// new pods wait again, until there is the next one.
func stepAgain(ctx context.Context, t *testing.T, w *world) {
	w.said.recent(t)
	w.run(ctx, t, "delete", "networkconfig", "default", "--wait=false")
	w.soon(ctx, t, "the NetworkConfig to say what it waits for", func() (bool, error) {
		out, err := w.Kubectl(ctx, "get", "networkconfig", "default", "-o", `jsonpath={.status.conditions[?(@.type=="Stalled")].reason}`)
		return out == "TeardownPending", err
	})
	w.sources(ctx, t, w.podFlows(ctx, t))
	w.said.expect(ctx, t, "False")
	w.run(ctx, t, "annotate", "networkconfig", "default", "net.hopsack.dev/teardown=confirmed")
	w.run(ctx, t, "wait", "--for=delete", "networkconfig/default", "--timeout=2m")
	w.said.expect(ctx, t, "False", "True")
	w.apply(ctx, t, fmt.Sprintf(plainPod, "between", "n3", false, 8080))
	w.waits(ctx, t, "between")
	w.apply(ctx, t, networkManifest)
	w.awaitNetwork(ctx, t)
	w.said.expect(ctx, t, "True", "False")
	w.adopted(ctx, t)
	for _, node := range w.nodes {
		w.ownAddresses(ctx, t, node)
	}
	w.accounted(ctx, t)
	w.sources(ctx, t, w.podFlows(ctx, t))
}
