package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// manifestDirs are the kustomizations the lab applies: all but the workloads, which it runs itself.
var manifestDirs = []string{"crd", "rbac", "admission"}

// renderManifests returns the objects of the project's manifests, in the order in which they can be created. kustomize
// wants relative paths, and follows symbolic links before it reads them.
func (c *Cluster) renderManifests(ctx context.Context) ([]*unstructured.Unstructured, error) {
	dir := c.path("manifests")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	from, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	root, err := filepath.EvalSymlinks(c.root)
	if err != nil {
		return nil, err
	}
	var resources []string
	for _, name := range manifestDirs {
		rel, err := filepath.Rel(from, filepath.Join(root, "config", name))
		if err != nil {
			return nil, err
		}
		resources = append(resources, rel)
	}
	err = writeJSON(filepath.Join(dir, "kustomization.yaml"), map[string]any{
		"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": resources,
	})
	if err != nil {
		return nil, err
	}
	out, err := c.Kubectl(ctx, "kustomize", dir)
	if err != nil {
		return nil, err
	}
	return decode([]byte(out))
}

func decode(text []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		var obj unstructured.Unstructured
		err := decoder.Decode(&obj)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read manifests: %w", err)
		}
		if len(obj.Object) > 0 {
			objects = append(objects, &obj)
		}
	}
}

// applyManifests applies objects and waits until the API serves hopsack's kinds. It does so itself: kubectl would first make
// the API server publish all its schemas, which takes a server that has just started longer than all the rest.
func (c *Cluster) applyManifests(ctx context.Context, objects []*unstructured.Unstructured) error {
	api, err := c.Client()
	if err != nil {
		return err
	}
	for _, obj := range objects {
		err := api.Apply(ctx, client.ApplyConfigurationFromUnstructured(obj), client.ForceOwnership, client.FieldOwner("lab"))
		if err != nil {
			return fmt.Errorf("apply %s %s: %w", obj.GetKind(), obj.GetName(), err)
		}
	}
	if err := c.waitForKinds(ctx); err != nil {
		return err
	}
	c.say("manifests: applied")
	return nil
}

// waitForKinds waits until the API server serves every kind of hopsack.
func (c *Cluster) waitForKinds(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return c.Wait(ctx, "the API to serve hopsack's kinds", func() (bool, error) {
		// A new client each time: a REST mapping that was not found is remembered.
		api, err := c.Client()
		if err != nil {
			return false, err
		}
		for _, list := range []client.ObjectList{&v1alpha1.NetworkConfigList{}, &v1alpha1.SubnetLeaseList{}, &v1alpha1.NodeNetworkList{}} {
			if err := api.List(ctx, list); err != nil {
				return false, err
			}
		}
		return true, nil
	})
}
