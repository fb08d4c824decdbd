package cli

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/hopsack-net/hopsack/cli"
)

// TestUninstallLeavesHelmItsObjects: what Helm installed is Helm's to delete, and it needs the CRDs until then.
func TestUninstallLeavesHelmItsObjects(t *testing.T) {
	cluster(t)
	startController(t)
	works(t)
	objects := install(t, "uninstall-helm", func(o *unstructured.Unstructured) {
		o.SetAnnotations(map[string]string{"meta.helm.sh/release-name": "net", "meta.helm.sh/release-namespace": "uninstall-helm"})
		l := o.GetLabels()
		l["app.kubernetes.io/managed-by"] = "Helm"
		o.SetLabels(l)
	})
	uninstallEnds(t, cli.ExitError, []string{"--yes", "--crds"}, "helm uninstall net --namespace uninstall-helm")
	if len(leases(t)) != 3 {
		t.Error("a refused run has changed something")
	}
	uninstallEnds(t, cli.ExitOK, []string{"--yes"}, "now run: helm uninstall net --namespace uninstall-helm")
	gone(t)
	for _, o := range objects {
		if !exists(t, o) {
			t.Errorf("%s %s is gone, which is Helm's", o.GetKind(), o.GetName())
		}
	}
}

// TestUninstallKeepsHelmsNamespace: a namespace that kubectl made stays when Helm took over what is in it, because the record of
// the release lies there.
func TestUninstallKeepsHelmsNamespace(t *testing.T) {
	empty(t)
	const namespace = "uninstall-taken-over"
	objects := install(t, namespace, func(o *unstructured.Unstructured) {
		if o.GetKind() == "Namespace" {
			return
		}
		o.SetAnnotations(map[string]string{"meta.helm.sh/release-name": "net", "meta.helm.sh/release-namespace": namespace})
		l := o.GetLabels()
		l["app.kubernetes.io/managed-by"] = "Helm"
		o.SetLabels(l)
	})
	uninstallEnds(t, cli.ExitOK, []string{"--yes"}, "namespace/uninstall-taken-over stays: Helm's release net is in it")
	for _, o := range objects {
		if !exists(t, o) {
			t.Errorf("%s %s is gone, and helm uninstall cannot end", o.GetKind(), o.GetName())
		}
	}
}

// TestUninstallKeepsForeignPods: a namespace that holds other pods stays.
func TestUninstallKeepsForeignPods(t *testing.T) {
	empty(t)
	const namespace = "uninstall-shared"
	objects := install(t, namespace)
	create(t, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: namespace}})
	create(t, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "tenant", Namespace: namespace},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "tenant", Image: "tenant"}}}})
	uninstallEnds(t, cli.ExitOK, []string{"--yes"}, "namespace/uninstall-shared stays: pod tenant in it is not hopsack's")
	for _, o := range objects {
		if got, want := exists(t, o), o.GetKind() == "Namespace"; got != want {
			t.Errorf("%s %s: exists %v, want %v", o.GetKind(), o.GetName(), got, want)
		}
	}
}
