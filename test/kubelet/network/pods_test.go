package network

import (
	"context"
	"fmt"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/test/kubelet/cluster"
)

// crowd is how many pods the node of stepCrowd has in the end. As many as a kubelet takes are a case of test/bench.
const crowd = 40

func stepCrowd(ctx context.Context, t *testing.T, w *world) {
	done, err := Crowd(ctx, w.Cluster, "n1", crowd)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d pods on n1, %d of them new: Ready after %.1f s, %d with an address of their own; gone after %.1f s",
		done.Pods, done.New, done.Ready.Seconds(), done.Networked, done.Gone.Seconds())
	w.accounted(ctx, t)
}

// slowPod serves for a minute after it was told to end.
const slowPod = `
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, labels: {app: slow}}
spec:
  nodeName: %[2]s
  terminationGracePeriodSeconds: 120
  containers:
  - name: c
    image: ` + cluster.Agnhost + `
    args: [netexec, --http-port=8080, --delay-shutdown=60]
    readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
---
`

// stepTerminating deletes a pod behind a Service under a connection: new ones go to the other pod, the one there is goes on. When the
// other pod ends as well, both still take new ones.
func stepTerminating(ctx context.Context, t *testing.T, w *world) {
	w.apply(ctx, t, fmt.Sprintf(slowPod, "slow2", "n2")+fmt.Sprintf(slowPod, "slow3", "n3")+fmt.Sprintf(serviceManifest, "slow", "", "Cluster", 8080))
	w.run(ctx, t, "wait", "--for=condition=Ready", "pod/slow2", "pod/slow3", "--timeout=2m")
	ip, _ := w.service(ctx, t, "slow")
	at := "http://" + port(ip, 80)
	kept := w.connectTo(ctx, t, at, "slow2")
	w.end(ctx, t, "slow2")
	w.newConnections(ctx, t, at, map[string]bool{"slow3": true})
	w.keeps(ctx, t, kept, at, "slow2")
	w.end(ctx, t, "slow3")
	w.newConnections(ctx, t, at, map[string]bool{"slow2": true, "slow3": true})
	w.keeps(ctx, t, kept, at, "slow2")
	for _, name := range []string{"slow2", "slow3"} {
		b, err := w.browse("p1", false)
		if err != nil {
			t.Fatal(err)
		}
		// The answer may or may not come before the end.
		_, _ = b.get(ctx, "http://"+pod(w.addr(ctx, t, name))+"/exit?code=0&wait=1ms")
	}
	w.run(ctx, t, "wait", "--for=delete", "pod/slow2", "pod/slow3", "--timeout=2m")
	w.accounted(ctx, t)
}

// connectTo opens connections from p1 until one is answered by the pod, which it keeps.
func (w *world) connectTo(ctx context.Context, t *testing.T, at, pod string) *browser {
	t.Helper()
	var kept *browser
	w.soon(ctx, t, "a connection to "+pod, func() (bool, error) {
		b, err := w.browse("p1", true)
		if err != nil {
			return false, err
		}
		who, err := b.get(ctx, at+"/hostname")
		if who != pod {
			b.CloseIdleConnections()
			return false, err
		}
		kept = b
		return true, err
	})
	return kept
}

func (w *world) keeps(ctx context.Context, t *testing.T, kept *browser, at, pod string) {
	t.Helper()
	for range 5 {
		if who, err := kept.get(ctx, at+"/hostname"); err != nil || who != pod {
			t.Fatalf("the connection to %s, which ends: got %q, %v", pod, who, err)
		}
	}
	if kept.opened != 1 {
		t.Errorf("the connection to %s broke: %d were opened", pod, kept.opened)
	}
}

// end deletes a pod and waits until whoever looks after Services knows.
func (w *world) end(ctx context.Context, t *testing.T, pod string) {
	t.Helper()
	w.run(ctx, t, "delete", "pod", pod, "--wait=false")
	api, err := w.Client()
	if err != nil {
		t.Fatal(err)
	}
	w.soon(ctx, t, pod+" to be an endpoint that ends", func() (bool, error) {
		var slices discoveryv1.EndpointSliceList
		if err := api.List(ctx, &slices, client.InNamespace("default"), client.MatchingLabels{discoveryv1.LabelServiceName: "slow"}); err != nil {
			return false, err
		}
		for _, s := range slices.Items {
			for _, e := range s.Endpoints {
				if e.TargetRef.Name == pod && e.Conditions.Terminating != nil && *e.Conditions.Terminating {
					return true, nil
				}
			}
		}
		return false, nil
	})
}

// newConnections waits until ten new connections in a row are answered by these pods and no other, each of them at least once. None
// may be refused meanwhile.
func (w *world) newConnections(ctx context.Context, t *testing.T, at string, want map[string]bool) {
	t.Helper()
	b, err := w.browse("p1", false)
	if err != nil {
		t.Fatal(err)
	}
	w.soon(ctx, t, fmt.Sprintf("new connections to go to %v", want), func() (bool, error) {
		seen := map[string]bool{}
		for range 10 {
			who, err := b.get(ctx, at+"/hostname")
			if err != nil {
				t.Fatalf("new connection: %v", err)
			}
			if seen[who] = true; !want[who] {
				return false, fmt.Errorf("answered by %s", who)
			}
		}
		return len(seen) == len(want), nil
	})
}
