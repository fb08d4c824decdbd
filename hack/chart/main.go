package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	yamlstream "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

func main() {
	chart := flag.String("chart", "charts/hopsack", "`folder` of the chart; what is generated in it is written anew")
	install := flag.String("install", "", "`file` to write everything to for kubectl apply; empty: none")
	flag.Parse()
	if err := run(*chart, *install); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

func run(chart, install string) error {
	base, err := build("config/default")
	if err != nil {
		return err
	}
	monitoring, err := build("config/monitoring")
	if err != nil {
		return err
	}
	if install != "" {
		if err := writeInstall(install, base); err != nil {
			return err
		}
	}
	files, err := generate(base, monitoring)
	if err != nil {
		return err
	}
	// A template that is no longer made would be installed for ever.
	if err := os.RemoveAll(filepath.Join(chart, "templates")); err != nil {
		return err
	}
	for name, content := range files {
		path := filepath.Join(chart, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// object is a manifest.
type object map[string]any

func (o object) kind() string { return fmt.Sprint(o["kind"]) }

func (o object) name() string {
	meta, _ := o["metadata"].(map[string]any)
	return fmt.Sprint(meta["name"])
}

// id names the object among those of the chart.
func (o object) id() string { return o.kind() + "/" + o.name() }

// build renders a folder with kustomize, the pinned tool.
func build(dir string) ([]object, error) {
	var problem bytes.Buffer
	cmd := exec.Command("go", "tool", "-modfile=hack/tools/go.mod", "kustomize", "build", dir)
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("render %s: %w: %s", dir, err, problem.Bytes())
	}
	return parse(out)
}

// parse splits a stream of manifests.
func parse(stream []byte) ([]object, error) {
	var objects []object
	for reader := yamlstream.NewYAMLReader(bufio.NewReader(bytes.NewReader(stream))); ; {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read manifests: %w", err)
		}
		var o object
		if err := yaml.Unmarshal(document, &o); err != nil {
			return nil, fmt.Errorf("parse manifests: %w", err)
		}
		if len(o) > 0 {
			objects = append(objects, o)
		}
	}
}

// writeInstall writes all objects into one file.
func writeInstall(path string, objects []object) error {
	var out bytes.Buffer
	fmt.Fprintf(&out, "# hopsack %s: kubectl apply --server-side -f install.yaml, then a NetworkConfig.\n", release(objects))
	out.WriteString("# Made from config/default by hack/chart.\n")
	for _, o := range objects {
		text, err := yaml.Marshal(o)
		if err != nil {
			return err
		}
		out.WriteString("---\n")
		out.Write(text)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, out.Bytes(), 0o644)
}

// release is the tag of the controller's image: the one place where the release is written.
func release(objects []object) string {
	for _, o := range objects {
		if o.id() != "Deployment/hopsack-controller" {
			continue
		}
		if image, err := lookup(o, "spec/template/spec/containers/controller/image"); err == nil {
			_, tag := splitImage(fmt.Sprint(image))
			return tag
		}
	}
	return ""
}

// splitImage takes the tag off an image's name.
func splitImage(image string) (repository, tag string) {
	i := strings.LastIndex(image, ":")
	if i < 0 || strings.Contains(image[i:], "/") {
		return image, ""
	}
	return image[:i], image[i+1:]
}
