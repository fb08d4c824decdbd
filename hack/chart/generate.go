package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"sigs.k8s.io/yaml"
)

// generate returns the files of the chart by name.
func generate(base, monitoring []object) (map[string][]byte, error) {
	version := release(base)
	if version == "" {
		return nil, fmt.Errorf("the controller's image has no tag")
	}
	t, err := newTemplates(append(base, monitoring...))
	if err != nil {
		return nil, err
	}
	defaults := map[string]any{}
	for _, v := range values {
		if defaults[v.name], err = t.apply(v); err != nil {
			return nil, fmt.Errorf("value %s: %w", v.name, err)
		}
	}
	if err := t.namespaced(); err != nil {
		return nil, err
	}
	for _, id := range []string{deployment, daemonSet} {
		if err := t.secrets(id); err != nil {
			return nil, fmt.Errorf("%s: %w", id, err)
		}
		if err := t.restarts(id); err != nil {
			return nil, fmt.Errorf("%s: %w", id, err)
		}
	}
	files := map[string][]byte{
		"Chart.yaml":               chartFile(version),
		"templates/_helpers.tpl":   []byte(helpers),
		"templates/apiserver.yaml": []byte(apiServer),
		"templates/NOTES.txt":      []byte(notes),
	}
	for _, id := range t.order {
		if t.objects[id].kind() == "CustomResourceDefinition" {
			if err := t.keep(id); err != nil {
				return nil, fmt.Errorf("%s: %w", id, err)
			}
		}
		text, err := t.print(id)
		if err != nil {
			return nil, err
		}
		files["templates/"+strings.ToLower(strings.ReplaceAll(id, "/", "-"))+".yaml"] = []byte(generated + text)
	}
	if files["values.yaml"], err = valuesFile(defaults); err != nil {
		return nil, err
	}
	files["values.schema.json"], err = schemaFile(defaults)
	return files, err
}

// apply makes a field a value and returns the default.
func (t *templates) apply(v value) (any, error) {
	expression := "toJson .Values." + v.name
	if image, ok := v.fixed.(imageOf); ok {
		return t.applyImage(image, strings.TrimSuffix(v.name, ".repository"))
	}
	if v.in == "" {
		return v.fixed, nil
	}
	o := t.objects[v.in]
	if o == nil {
		return nil, fmt.Errorf("%s is not among the manifests", v.in)
	}
	found, err := lookup(o, v.at)
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", v.at, v.in, err)
	}
	return found, t.set(v.in, []string{v.at}, expression)
}

// applyImage makes the image of every container of a pod a value, and returns its repository.
func (t *templates) applyImage(of imageOf, name string) (any, error) {
	var first string
	for _, list := range []string{"initContainers", "containers"} {
		all, err := lookup(t.objects[of.object], pod+list)
		if err != nil {
			continue // no pod has to have init containers
		}
		members, _ := all.([]any)
		for _, c := range members {
			container, _ := c.(map[string]any)
			image := fmt.Sprint(container["image"])
			if first == "" {
				first = image
			}
			if image != first {
				return nil, fmt.Errorf("containers of %s have several images: %s, %s", of.object, first, image)
			}
			container["image"] = t.mark(`{{ include "hopsack.image" (dict "image" .Values.` + name + ` "version" .Chart.AppVersion) | toJson }}`)
		}
	}
	repository, _ := splitImage(first)
	return repository, nil
}

const generated = "{{- /* Made by hack/chart from config/: make generate. */}}\n"

const helpers = generated + `{{- define "hopsack.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .version }}
{{- end -}}
{{- end -}}
`

// notes are what helm prints after an installation: without a NetworkConfig there is no network yet.
const notes = `{{- /* Made by hack/chart: make generate. */ -}}
Nodes get a network once there is a NetworkConfig, for example:

  apiVersion: net.hopsack.dev/v1alpha1
  kind: NetworkConfig
  metadata: {name: default}
  spec:
    network: 10.244.0.0/16
    backend: {type: vxlan}

Then: kubectl hopsack rollout status
`

// apiServer is the one object that only the chart has: the pods read it when it is there.
const apiServer = generated + `{{- if .Values.apiServer.host }}
apiVersion: v1
kind: ConfigMap
metadata:
  name: hopsack-apiserver
  namespace: {{ .Release.Namespace }}
  labels:
    app.kubernetes.io/name: hopsack
data:
  KUBERNETES_SERVICE_HOST: {{ .Values.apiServer.host | toJson }}
  KUBERNETES_SERVICE_PORT: {{ .Values.apiServer.port | toString | toJson }}
{{- end }}
`

func chartFile(version string) []byte {
	return fmt.Appendf(nil, `# Made by hack/chart from config/: make generate.
apiVersion: v2
name: hopsack
description: The pod network of a Kubernetes cluster, which changes while pods use it
type: application
version: %s
appVersion: %s
kubeVersion: ">=1.32.0-0"
home: https://%[3]s
sources:
- https://%[3]s
`, strings.TrimPrefix(version, "v"), version, "github.com/hopsack-net/hopsack")
}

// valuesFile prints the defaults with what there is to say about each.
func valuesFile(defaults map[string]any) ([]byte, error) {
	var out bytes.Buffer
	out.WriteString("# Made by hack/chart from config/: make generate. The defaults are those of the manifests there.\n")
	var open []string
	for _, v := range values {
		parts := strings.Split(v.name, ".")
		groups := parts[:len(parts)-1]
		common := 0
		for common < len(groups) && common < len(open) && groups[common] == open[common] {
			common++
		}
		if common == 0 {
			out.WriteString("\n")
		}
		for i := common; i < len(groups); i++ {
			fmt.Fprintf(&out, "%s%s:\n", indent(i), groups[i])
		}
		open = groups
		text, err := yaml.Marshal(map[string]any{parts[len(parts)-1]: defaults[v.name]})
		if err != nil {
			return nil, err
		}
		if v.doc != "" {
			fmt.Fprintf(&out, "%s# %s\n", indent(len(groups)), v.doc)
		}
		for line := range strings.Lines(string(text)) {
			out.WriteString(indent(len(groups)) + line)
		}
	}
	return out.Bytes(), nil
}

func indent(depth int) string { return strings.Repeat("  ", depth) }

// schemaFile says what values may be; names that are not values are refused, so that a slip is not silently ignored.
func schemaFile(defaults map[string]any) ([]byte, error) {
	root := group()
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	root["properties"].(map[string]any)["global"] = map[string]any{"type": "object"}
	for _, v := range values {
		parts := strings.Split(v.name, ".")
		in := root
		for _, p := range parts[:len(parts)-1] {
			properties := in["properties"].(map[string]any)
			if properties[p] == nil {
				properties[p] = group()
			}
			in = properties[p].(map[string]any)
		}
		s := map[string]any{"type": schemaType(defaults[v.name])}
		if v.doc != "" {
			s["description"] = v.doc
		}
		maps.Copy(s, v.schema)
		in["properties"].(map[string]any)[parts[len(parts)-1]] = s
	}
	content, err := json.MarshalIndent(root, "", "  ")
	return append(content, '\n'), err
}

func group() map[string]any {
	return map[string]any{"type": "object", "additionalProperties": false, "properties": map[string]any{}}
}

func schemaType(v any) string {
	switch v.(type) {
	case string:
		return "string"
	case bool:
		return "boolean"
	case int, float64:
		return "integer"
	case []any:
		return "array"
	default:
		return "object"
	}
}
