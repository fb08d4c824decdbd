package cli

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

func newFake(t *testing.T, funcs interceptor.Funcs, objects ...client.Object) client.WithWatch {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithInterceptorFuncs(funcs).Build()
}

func history(names ...string) []v1alpha1.RevisionRecord {
	var out []v1alpha1.RevisionRecord
	for i, n := range names {
		out = append(out, v1alpha1.RevisionRecord{Revision: n, Outcome: v1alpha1.OutcomeCompleted, MTU: int32(1400 + i),
			Backend: v1alpha1.Backend{Type: v1alpha1.BackendHostGW}})
	}
	return out
}

// TestUndoYieldsToOthers: what somebody else wrote after it was read is not overwritten.
func TestUndoYieldsToOthers(t *testing.T) {
	cfg := &v1alpha1.NetworkConfig{ObjectMeta: metav1.ObjectMeta{Name: "default"},
		Spec:   v1alpha1.NetworkConfigSpec{Network: "10.244.0.0/16", Backend: v1alpha1.Backend{Type: v1alpha1.BackendVXLAN}},
		Status: v1alpha1.NetworkConfigStatus{History: history("aaaa")}}
	c := newFake(t, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			if err := c.Get(ctx, key, obj, opts...); err != nil {
				return err
			}
			other := obj.DeepCopyObject().(*v1alpha1.NetworkConfig)
			other.Spec.Backend = v1alpha1.Backend{Type: v1alpha1.BackendUDP}
			return c.Update(ctx, other)
		},
	}, cfg)
	var out bytes.Buffer
	s := &session{IOStreams: genericiooptions.IOStreams{Out: &out, ErrOut: &out}}
	err := s.undo(t.Context(), c, "", &dryRun{value: "none"})
	if !apierrors.IsConflict(err) || !strings.Contains(err.Error(), "somebody else changed it at the same time") {
		t.Errorf("undo: got %v %q, want a conflict", err, out.String())
	}
}

func TestGoBackTo(t *testing.T) {
	host := v1alpha1.Backend{Type: v1alpha1.BackendHostGW}
	tests := map[string]struct {
		mtu       int32
		history   []v1alpha1.RevisionRecord
		to        string
		want, err string
	}{
		"the one before":       {1400, history("aaaa", "bbbb", "cccc"), "", "bbbb", ""},
		"a new spec":           {1300, history("aaaa", "bbbb"), "", "aaaa", ""},
		"only what there is":   {1400, history("aaaa"), "", "", "there is nothing to go back to"},
		"by name":              {1400, history("aaaa", "bbbb", "cccc"), "cc", "cccc", ""},
		"by an ambiguous name": {1400, history("aaaa", "bb01", "bb02"), "bb", "", `--to-revision "bb": bb01 and bb02 begin like that`},
		"to where it is":       {1400, history("aaaa", "bbbb"), "aaaa", "", "that is what the spec asks for"},
		"to nowhere":           {1400, history("aaaa"), "dddd", "", "there is no such revision in its history (aaaa)"},
		"without history":      {1400, nil, "dddd", "", "there is no such revision in its history ((none))"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := &v1alpha1.NetworkConfig{Spec: v1alpha1.NetworkConfigSpec{Backend: host, MTU: &tt.mtu}, Status: v1alpha1.NetworkConfigStatus{History: tt.history}}
			got, err := goBackTo(cfg, tt.to)
			if got.Revision != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %q, %v; want %q, %q", got.Revision, err, tt.want, tt.err)
			}
		})
	}
}

// TestUndoTellsApply: the annotation that "kubectl apply" compares with holds what undo wrote, and the rest as it was.
func TestUndoTellsApply(t *testing.T) {
	tests := map[string]struct{ applied, want string }{
		"applied": {`{"kind":"NetworkConfig","spec":{"backend":{"type":"udp","udp":{"port":7}},"network":"10.244.0.0/16"}}`,
			`{"kind":"NetworkConfig","spec":{"backend":{"type":"host-gw"},"mtu":1400,"network":"10.244.0.0/16"}}` + "\n"},
		"without spec": {`{"kind":"NetworkConfig"}`, `{"kind":"NetworkConfig"}`},
		"broken":       {`{"kind":`, `{"kind":`},
		"created":      {"", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := &v1alpha1.NetworkConfig{ObjectMeta: metav1.ObjectMeta{Name: "default"},
				Spec:   v1alpha1.NetworkConfigSpec{Network: "10.244.0.0/16", Backend: v1alpha1.Backend{Type: v1alpha1.BackendUDP}},
				Status: v1alpha1.NetworkConfigStatus{History: history("aaaa")}}
			if tt.applied != "" {
				cfg.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: tt.applied}
			}
			c := newFake(t, interceptor.Funcs{}, cfg)
			s := &session{IOStreams: genericiooptions.NewTestIOStreamsDiscard()}
			if err := s.undo(t.Context(), c, "", &dryRun{value: "none"}); err != nil {
				t.Fatal(err)
			}
			var got v1alpha1.NetworkConfig
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(cfg), &got); err != nil {
				t.Fatal(err)
			}
			if got := got.Annotations[corev1.LastAppliedConfigAnnotation]; got != tt.want {
				t.Errorf("annotation:\n got %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestManagedBy(t *testing.T) {
	tests := map[string]struct {
		meta metav1.ObjectMeta
		want string
	}{
		"nobody":        {metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl-client-side-apply"}}}, ""},
		"argo":          {metav1.ObjectMeta{Annotations: map[string]string{"argocd.argoproj.io/tracking-id": "net:net.hopsack.dev/NetworkConfig:/default"}}, "Argo CD (application net)"},
		"argo, by name": {metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "argocd-controller"}}}, "Argo CD"},
		"flux":          {metav1.ObjectMeta{Labels: map[string]string{"kustomize.toolkit.fluxcd.io/name": "n", "kustomize.toolkit.fluxcd.io/namespace": "s"}}, "Flux (Kustomization s/n)"},
		"flux helm":     {metav1.ObjectMeta{Labels: map[string]string{"helm.toolkit.fluxcd.io/name": "n", "helm.toolkit.fluxcd.io/namespace": "s"}}, "Flux (HelmRelease s/n)"},
		"status only":   {metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kustomize-controller", Subresource: "status"}}}, ""},
	}
	for name, tt := range tests {
		if got := managedBy(&v1alpha1.NetworkConfig{ObjectMeta: tt.meta}); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

// TestFollowSurvivesABrokenWatch: a watch that ends is started again, and what happened meanwhile is seen.
func TestFollowSurvivesABrokenWatch(t *testing.T) {
	cfg := &v1alpha1.NetworkConfig{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	watches, reads := 0, 0
	c := newFake(t, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			if reads++; reads == 2 {
				return apierrors.NewServiceUnavailable("starting")
			}
			if err := c.Get(ctx, key, obj, opts...); err != nil {
				return err
			}
			obj.SetGeneration(int64(reads))
			return nil
		},
		Watch: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) (watch.Interface, error) {
			watches++
			w := watch.NewFake()
			go w.Stop()
			return w, nil
		},
	}, cfg)
	var seen []int64
	err := follow(t.Context(), c, nil, func(cfg *v1alpha1.NetworkConfig) (bool, error) {
		seen = append(seen, cfg.Generation)
		return cfg.Generation >= 4, nil
	})
	if err != nil || fmt.Sprint(seen) != "[1 3 4]" || watches != 2 {
		t.Errorf("got %v, %v with %d watches; want [1 3 4] with 2", seen, err, watches)
	}
}

// TestLargeCheck: many nodes make no matrix, but failures and totals.
func TestLargeCheck(t *testing.T) {
	results := map[string]v1alpha1.CheckResult{}
	var a awaited
	for i := range 20 {
		name := fmt.Sprintf("n%02d", i)
		a.live = append(a.live, name)
		results[name] = v1alpha1.CheckResult{Peers: 19, Reached: 19, MedianMicroseconds: 100, SlowestMicroseconds: int64(1000 - i)}
	}
	bad := v1alpha1.CheckResult{Peers: 19, Reached: 1}
	for i := range 16 {
		bad.Failing = append(bad.Failing, v1alpha1.FailingPeer{Node: fmt.Sprintf("n%02d", i+1), Reason: "NoAnswer"})
	}
	results["n00"] = bad
	r := newCheckReport("x", results, a)
	var out bytes.Buffer
	if err := r.print(&out, false); err != nil {
		t.Fatal(err)
	}
	got := out.String()
	for _, want := range []string{"n00 -> n16: NoAnswer\n", "n00 -> 2 more\n", "n01    19/19", "362 of 380 paths work\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	for _, unwanted := range []string{"FROM", "n06    19/19"} {
		if strings.Contains(got, unwanted) {
			t.Errorf("%q in:\n%s", unwanted, got)
		}
	}
	if err := r.judge(time.Second); Code(err) != ExitFailed {
		t.Errorf("judge: got %v", err)
	}
}
