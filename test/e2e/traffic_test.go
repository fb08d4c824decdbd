package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/test/lab/loss"
)

func TestPodsReachEachOther(t *testing.T) {
	allPing(t)
}

// The agent is not in the data path's way.
func TestKilledAgentsLoseNothing(t *testing.T) {
	for _, p := range paths {
		t.Run(p.String(), func(t *testing.T) {
			losesNothing(t, p, loss.DefaultSize, func(ctx context.Context) error {
				for _, a := range agents() {
					if err := restart(ctx, a); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
}

// Neither are controller and API server, and an agent that starts while they are gone changes nothing.
func TestControlPlaneGoneLosesNothing(t *testing.T) {
	losesNothing(t, path{from: "p1", to: "p3"}, loss.DefaultSize, func(ctx context.Context) error {
		for _, c := range []string{"controller", "apiserver", "etcd"} {
			if err := cluster.Kill(ctx, c); err != nil {
				return err
			}
		}
		for _, a := range agents() {
			if err := restart(ctx, a); err != nil {
				return err
			}
		}
		for _, c := range []string{"etcd", "apiserver", "controller"} {
			if err := cluster.Start(ctx, c); err != nil {
				return err
			}
		}
		return nil
	})
	waitReady(t)
}

// A node that boots while the API server is gone comes up with the network it had, and pods on it start.
func TestNodeBootsWithoutAPIServer(t *testing.T) {
	for _, c := range []string{"controller", "apiserver"} {
		if err := cluster.Kill(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	started := func() {
		for _, c := range []string{"apiserver", "controller"} {
			if err := cluster.Start(context.WithoutCancel(t.Context()), c); err != nil {
				t.Fatal(err)
			}
		}
	}
	defer started()
	if err := cluster.RebootNode(t.Context(), "n2"); err != nil {
		t.Fatal(err)
	}
	wait(t, "a pod on the node that booted", func() (bool, error) {
		err := addPod(t.Context(), "p2", "n2")
		return err == nil, err
	})
	allPing(t)
}

// An etcd restored from a backup knows nothing of a node that joined since. Its pods go on talking, and the agents say so.
func TestRestoredEtcdLosesNoPacket(t *testing.T) {
	ctx := t.Context()
	if err := etcdDown(ctx); err != nil {
		t.Fatal(err)
	}
	backup := t.TempDir()
	if err := os.CopyFS(backup, os.DirFS(cluster.Dir()+"/etcd")); err != nil {
		t.Fatal(err)
	}
	if err := etcdUp(ctx); err != nil {
		t.Fatal(err)
	}
	if err := cluster.AddNode(ctx, "n4", false); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cluster.DelNode(context.WithoutCancel(ctx), "n4"); err != nil {
			t.Error(err)
		}
	}()
	wait(t, "a pod on n4", func() (bool, error) {
		err := addPod(ctx, "p4", "n4")
		return err == nil, err
	})
	waitReady(t)
	for range 300 { // a backup is hours old, not a handful of writes
		patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":{"e2e":"%d"}}}`, time.Now().UnixNano()))
		if err := api(t).Patch(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, patch); err != nil {
			t.Fatal(err)
		}
	}
	losesNothing(t, path{from: "p1", to: "p4"}, loss.DefaultSize, func(ctx context.Context) error {
		if err := etcdDown(ctx); err != nil {
			return err
		}
		if err := os.RemoveAll(cluster.Dir() + "/etcd"); err != nil {
			return err
		}
		if err := os.CopyFS(cluster.Dir()+"/etcd", os.DirFS(backup)); err != nil {
			return err
		}
		if err := etcdUp(ctx); err != nil {
			return err
		}
		wait(t, "n1 to say that a lease is in doubt", func() (bool, error) {
			nn := nodeNetwork(t, "n1")
			return conditionIs(nn.Status.Conditions, "LeasesDoubtful", "True"), nil
		})
		return nil
	})
}

func etcdDown(ctx context.Context) error {
	return errors.Join(cluster.Kill(ctx, "apiserver"), cluster.Stop(ctx, "etcd"))
}

func etcdUp(ctx context.Context) error {
	return errors.Join(cluster.Start(ctx, "etcd"), cluster.Start(ctx, "apiserver"))
}

// Pod churn and heartbeats of other nodes are not an agent's business: no pass, not even an empty one.
func TestIdleAgentsSleep(t *testing.T) {
	waitReady(t)
	quiet := func() string { return passes(t, "n1") }
	var before string
	wait(t, "the agent of n1 to come to rest", func() (bool, error) {
		first := quiet()
		select {
		case <-t.Context().Done():
		case <-time.After(2 * time.Second): // longer than any retry: what is still to come has come
		}
		before = quiet()
		return first == before, nil
	})
	for range 5 {
		if err := addPod(t.Context(), "churn", "n2"); err != nil {
			t.Fatal(err)
		}
		if err := cluster.DelPod(t.Context(), "churn"); err != nil {
			t.Fatal(err)
		}
		kubectl(t, "patch", "node", "n2", "--subresource=status", "--type=merge", "-p", `{"status":{"nodeInfo":{"kernelVersion":"`+time.Now().String()+`"}}}`)
		kubectl(t, "patch", "node", "n1", "--subresource=status", "--type=merge", "-p", `{"status":{"nodeInfo":{"kernelVersion":"`+time.Now().String()+`"}}}`)
	}
	after := quiet()
	// One slow resync may fall into the test.
	if parse(t, after)-parse(t, before) > 1 {
		t.Errorf("passes of n1 went from %s to %s while only others' pods and heartbeats changed", before, after)
	}
}
