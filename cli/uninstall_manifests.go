package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// manifestLabel has the value manifestName on everything that the manifests install, CRDs excepted.
const (
	manifestLabel = "app.kubernetes.io/name"
	manifestName  = "hopsack"
)

// electionLease is the Lease that controllers make for their election, beside their ServiceAccount.
const electionLease = "hopsack-controller"

var (
	leaseKind     = schema.GroupVersionKind{Group: "coordination.k8s.io", Version: "v1", Kind: "Lease"}
	accountKind   = corev1.SchemeGroupVersion.WithKind("ServiceAccount")
	namespaceKind = corev1.SchemeGroupVersion.WithKind("Namespace")
)

// manifestKinds are all that config/ and the chart hold, in the order in which they go: programs before their rights, and what
// confines agents after the agents. A test compares them with what is shipped.
func manifestKinds() []schema.GroupVersionKind {
	rbac := schema.GroupVersion{Group: "rbac.authorization.k8s.io", Version: "v1"}
	apps := schema.GroupVersion{Group: "apps", Version: "v1"}
	admission := schema.GroupVersion{Group: "admissionregistration.k8s.io", Version: "v1"}
	return []schema.GroupVersionKind{
		apps.WithKind("Deployment"),
		apps.WithKind("DaemonSet"),
		{Group: "policy", Version: "v1", Kind: "PodDisruptionBudget"},
		{Group: "monitoring.coreos.com", Version: "v1", Kind: "ServiceMonitor"},
		corev1.SchemeGroupVersion.WithKind("Service"),
		corev1.SchemeGroupVersion.WithKind("ConfigMap"),
		rbac.WithKind("RoleBinding"),
		rbac.WithKind("Role"),
		rbac.WithKind("ClusterRoleBinding"),
		rbac.WithKind("ClusterRole"),
		accountKind,
		{Group: "flowcontrol.apiserver.k8s.io", Version: "v1", Kind: "FlowSchema"},
		admission.WithKind("ValidatingAdmissionPolicyBinding"),
		admission.WithKind("ValidatingAdmissionPolicy"),
		namespaceKind,
	}
}

// installed is an object of the manifests.
type installed struct {
	kind schema.GroupVersionKind
	key  client.ObjectKey
	uid  types.UID
	note string // to be said after the name in the plan
}

func (o installed) String() string {
	if o.key.Namespace == "" {
		return strings.ToLower(o.kind.Kind) + "/" + o.key.Name
	}
	return strings.ToLower(o.kind.Kind) + "/" + o.key.Name + " in " + o.key.Namespace
}

// release is a release of Helm's.
type release struct{ name, namespace string }

func (r release) String() string {
	return fmt.Sprintf("release %s in namespace %s", r.name, r.namespace)
}

func (r release) command() string { return "helm uninstall " + r.name + " --namespace " + r.namespace }

// manifests is what is there of them.
type manifests struct {
	objects []installed // in the order in which they go
	helm    []release   // what holds the others
	kept    []string    // why something stays
}

// findManifests lists what the manifests installed, under whatever namespace and name prefix.
func findManifests(ctx context.Context, c client.Reader) (manifests, error) {
	var m manifests
	for _, kind := range manifestKinds() {
		all := &metav1.PartialObjectMetadataList{}
		all.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		if err := c.List(ctx, all, client.MatchingLabels{manifestLabel: manifestName}); err != nil {
			if absent(err) {
				continue // such as ServiceMonitors, where nobody installed them
			}
			return m, fmt.Errorf("list objects of kind %s: %w", kind.Kind, err)
		}
		for i := range all.Items {
			if err := m.add(ctx, c, kind, &all.Items[i]); err != nil {
				return m, err
			}
		}
	}
	m.keepHelmsNamespaces()
	return m, nil
}

// keepHelmsNamespaces keeps a namespace in which Helm has the record of a release: without it, "helm uninstall" finds nothing.
func (m *manifests) keepHelmsNamespaces() {
	for _, r := range m.helm {
		m.objects = slices.DeleteFunc(m.objects, func(o installed) bool {
			if o.kind != namespaceKind || o.key.Name != r.namespace {
				return false
			}
			m.kept = append(m.kept, fmt.Sprintf("namespace/%s stays: Helm's release %s is in it", r.namespace, r.name))
			return true
		})
	}
}

// add sorts an object into what is ours to delete, what is Helm's and what stays.
func (m *manifests) add(ctx context.Context, c client.Reader, kind schema.GroupVersionKind, obj *metav1.PartialObjectMetadata) error {
	if !obj.DeletionTimestamp.IsZero() {
		return nil
	}
	if name := obj.Annotations["meta.helm.sh/release-name"]; name != "" && obj.Labels["app.kubernetes.io/managed-by"] == "Helm" {
		if r := (release{name, obj.Annotations["meta.helm.sh/release-namespace"]}); !slices.Contains(m.helm, r) {
			m.helm = append(m.helm, r)
		}
		return nil
	}
	o := installed{kind: kind, key: client.ObjectKeyFromObject(obj), uid: obj.UID}
	switch kind {
	case namespaceKind:
		stranger, err := foreignPod(ctx, c, obj.Name)
		if err != nil {
			return err
		}
		if stranger != "" {
			m.kept = append(m.kept, fmt.Sprintf("namespace/%s stays: pod %s in it is not hopsack's", obj.Name, stranger))
			return nil
		}
		o.note = ", with all that is in it"
	case accountKind:
		if err := m.addElection(ctx, c, obj.Namespace); err != nil {
			return err
		}
	}
	m.objects = append(m.objects, o)
	return nil
}

// addElection adds the Lease that controllers made; no manifest holds it.
func (m *manifests) addElection(ctx context.Context, c client.Reader, namespace string) error {
	o := installed{kind: leaseKind, key: client.ObjectKey{Namespace: namespace, Name: electionLease}}
	if slices.ContainsFunc(m.objects, func(have installed) bool { return have.kind == o.kind && have.key == o.key }) {
		return nil
	}
	lease := &metav1.PartialObjectMetadata{}
	lease.SetGroupVersionKind(leaseKind)
	if err := c.Get(ctx, o.key, lease); err != nil {
		if absent(err) {
			return nil
		}
		return fmt.Errorf("read %s: %w", o, err)
	}
	o.uid = lease.UID
	m.objects = append(m.objects, o)
	return nil
}

// foreignPod names a pod of the namespace that is not hopsack's, or none.
func foreignPod(ctx context.Context, c client.Reader, namespace string) (string, error) {
	selector, err := labels.Parse(manifestLabel + "!=" + manifestName)
	if err != nil {
		return "", err
	}
	pods := &metav1.PartialObjectMetadataList{}
	pods.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("PodList"))
	if err := c.List(ctx, pods, client.InNamespace(namespace), client.MatchingLabelsSelector{Selector: selector}, client.Limit(1)); err != nil {
		return "", fmt.Errorf("list pods of namespace %s: %w", namespace, err)
	}
	if len(pods.Items) == 0 {
		return "", nil
	}
	return pods.Items[0].Name, nil
}

// removeManifests deletes what the manifests installed, and the CRDs last.
func (u *uninstall) removeManifests(ctx context.Context, m manifests) error {
	for _, o := range m.objects {
		if err := u.remove(ctx, o); err != nil {
			return err
		}
	}
	for _, why := range m.kept {
		u.printf("%s", why)
	}
	for _, r := range m.helm {
		u.printf("now run: %s", r.command())
	}
	if !u.crds {
		u.printf("done; the CRDs stay (--crds)")
		return nil
	}
	r, err := look(ctx, u.c)
	if err != nil {
		return err
	}
	if !r.nothing() {
		return exitWith(ExitFailed, "there is a network again: run this again")
	}
	for _, crd := range r.crds {
		o := installed{kind: crdKind, key: client.ObjectKeyFromObject(crd), uid: crd.UID}
		if err := u.removeCRD(ctx, o); err != nil {
			return err
		}
	}
	for len(r.crds) > 0 { // the API server deletes what is in them first
		if time.Now().After(u.deadline) {
			return exitWith(ExitTimeout, "CRD %s is still in deletion after %s: look at what is left in it", r.crds[0].Name, u.timeout)
		}
		if r, err = u.lookAgain(ctx, 0); err != nil {
			return err
		}
	}
	u.printf("done")
	return nil
}

// policyLag is how long the API server may go on keeping the CRDs after the NetworkConfig and the policy are gone: it hears of
// both by watching them.
const policyLag = 10 * time.Second

func (u *uninstall) removeCRD(ctx context.Context, o installed) error {
	for until := time.Now().Add(policyLag); ; {
		err := u.remove(ctx, o)
		if !apierrors.IsForbidden(err) || time.Now().After(until) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// remove deletes one object, of the version that was seen.
func (u *uninstall) remove(ctx context.Context, o installed) error {
	obj := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: o.key.Name, Namespace: o.key.Namespace}}
	obj.SetGroupVersionKind(o.kind)
	err := u.c.Delete(ctx, obj, client.Preconditions{UID: &o.uid}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if err != nil && !passes(err) {
		return fmt.Errorf("delete %s: %w", o, err)
	}
	u.printf("%s deleted", o)
	return nil
}

// passes says that somebody else was there first: the object is gone, or another one, and the next look tells.
func passes(err error) bool { return absent(err) || apierrors.IsConflict(err) }
