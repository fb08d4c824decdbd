package operate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// The kinds of the manifests that can be upgraded by themselves.
const (
	CRDs       = "CustomResourceDefinition"
	Agents     = "DaemonSet"
	Controller = "Deployment"
)

// newField is what the next version's kinds have in their spec.
const newField = "fieldOfTheNextVersion"

// Upgrade applies the manifests of the next version, those of some kinds or, when none is named, all of them, and waits until what
// they replace is Ready. It is an error when an object is not the same afterwards.
func (w *World) Upgrade(ctx context.Context, kinds ...string) (op Operation, err error) {
	name := "upgrade " + strings.Join(kinds, ", ")
	if len(kinds) == 0 {
		name = "upgrade everything"
	}
	manifests, err := w.nextManifests(ctx, kinds)
	if err != nil {
		return op, err
	}
	dir, err := os.MkdirTemp("", "hopsack-next-")
	if err != nil {
		return op, fmt.Errorf("make folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file := filepath.Join(dir, "install.yaml")
	if err := os.WriteFile(file, manifests, 0o644); err != nil {
		return op, err
	}
	before, err := w.objects(ctx)
	if err != nil {
		return op, err
	}
	op, err = w.measure(ctx, name, allPaths(), func(ctx context.Context) error {
		if _, err := w.Kubectl(ctx, "apply", "--server-side", "--force-conflicts", "-f", file); err != nil {
			return err
		}
		return w.ready(ctx)
	})
	if err != nil {
		return op, err
	}
	after, err := w.objects(ctx)
	if err != nil {
		return op, err
	}
	return op, kept(before, after)
}

// nextManifests are the manifests of the next version: other images, and a further field in every kind.
func (w *World) nextManifests(ctx context.Context, kinds []string) ([]byte, error) {
	text, err := w.Kubectl(ctx, "kustomize", filepath.Join(w.Root, "config", "default"))
	if err != nil {
		return nil, err
	}
	var out []byte
	for _, doc := range strings.Split(text, "\n---\n") {
		var obj unstructured.Unstructured
		if err := yaml.Unmarshal([]byte(doc), &obj.Object); err != nil {
			return nil, fmt.Errorf("read manifest: %w", err)
		}
		if len(kinds) > 0 && !slices.Contains(kinds, obj.GetKind()) {
			continue
		}
		if err := toNext(obj.Object); err != nil {
			return nil, fmt.Errorf("%s %s: %w", obj.GetKind(), obj.GetName(), err)
		}
		raw, err := yaml.Marshal(obj.Object)
		if err != nil {
			return nil, err
		}
		out = append(append(out, raw...), "---\n"...)
	}
	return out, nil
}

// toNext makes a manifest that of the next version.
func toNext(obj map[string]any) error {
	switch obj["kind"] {
	case CRDs:
		versions, _, err := unstructured.NestedSlice(obj, "spec", "versions")
		if err != nil || len(versions) == 0 {
			return errors.Join(errors.New("no versions"), err)
		}
		field := map[string]any{"type": "string", "description": "what this version does not know"}
		if err := unstructured.SetNestedField(versions[0].(map[string]any), field,
			"schema", "openAPIV3Schema", "properties", "spec", "properties", newField); err != nil {
			return err
		}
		return unstructured.SetNestedSlice(obj, versions, "spec", "versions")
	case Agents, Controller:
		for _, field := range []string{"initContainers", "containers"} {
			path := []string{"spec", "template", "spec", field}
			containers, found, err := unstructured.NestedSlice(obj, path...)
			if err != nil || !found {
				continue
			}
			for _, c := range containers {
				container := c.(map[string]any)
				container["image"] = fmt.Sprint(container["image"]) + "-next"
			}
			if err := unstructured.SetNestedSlice(obj, containers, path...); err != nil {
				return err
			}
		}
	}
	return nil
}

// objects are hopsack's objects with what must not change by an upgrade: who they are and what they ask for.
func (w *World) objects(ctx context.Context) (map[string]string, error) {
	out := map[string]string{}
	for _, kind := range []string{"NetworkConfig", "SubnetLease", "NodeNetwork"} {
		var list unstructured.UnstructuredList
		list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind + "List"))
		if err := w.api.List(ctx, &list, &client.ListOptions{}); err != nil {
			return nil, fmt.Errorf("list %s: %w", kind, err)
		}
		for _, obj := range list.Items {
			spec, err := json.Marshal(obj.Object["spec"])
			if err != nil {
				return nil, err
			}
			out[kind+" "+obj.GetName()] = string(obj.GetUID()) + " " + string(spec)
		}
	}
	return out, nil
}

// kept returns an error that names what is not as it was.
func kept(before, after map[string]string) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if before[name] != after[name] {
			errs = append(errs, fmt.Errorf("%s was %s, is %q", name, before[name], after[name]))
		}
	}
	if len(after) != len(before) || len(before) == 0 {
		errs = append(errs, fmt.Errorf("%d objects, were %d", len(after), len(before)))
	}
	return errors.Join(errs...)
}
