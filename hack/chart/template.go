package main

import (
	"fmt"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"
)

// templates turns objects into the templates of the chart. Fields are replaced by marks, the objects are printed, braces that
// mean something to the template language are quoted, and the marks become expressions: nothing of a manifest is ever read as
// a template.
type templates struct {
	objects     map[string]object
	order       []string
	expressions []string
}

func newTemplates(objects []object) (*templates, error) {
	t := &templates{objects: map[string]object{}}
	for _, o := range objects {
		if t.objects[o.id()] != nil {
			return nil, fmt.Errorf("%s is there twice", o.id())
		}
		t.objects[o.id()] = o
		t.order = append(t.order, o.id())
	}
	return t, nil
}

// mark keeps an expression and returns what stands for it meanwhile.
func (t *templates) mark(expression string) string {
	t.expressions = append(t.expressions, expression)
	return fmt.Sprintf("HOPSACK-MARK-%d-", len(t.expressions)-1)
}

// set makes fields of an object a value; JSON is YAML too, and needs no indentation.
func (t *templates) set(id string, paths []string, expression string) error {
	o := t.objects[id]
	if o == nil {
		return fmt.Errorf("%s is not among the manifests", id)
	}
	for _, p := range paths {
		if err := replace(o, p, t.mark("{{ "+expression+" }}")); err != nil {
			return fmt.Errorf("%s of %s: %w", p, id, err)
		}
	}
	return nil
}

// namespaced puts the release's namespace where the manifests have one.
func (t *templates) namespaced() error {
	var namespace string
	for _, id := range t.order {
		if t.objects[id].kind() == "Namespace" {
			namespace = t.objects[id].name()
		}
	}
	if namespace == "" {
		return fmt.Errorf("there is no Namespace among the manifests")
	}
	mark := t.mark("{{ .Release.Namespace }}")
	for _, id := range t.order {
		o := t.objects[id]
		if o.kind() == "Namespace" {
			if err := replace(o, "metadata/name", mark); err != nil {
				return err
			}
		}
		places := []any{o["metadata"]}
		if subjects, ok := o["subjects"].([]any); ok {
			places = append(places, subjects...)
		}
		for _, place := range places {
			if fields, ok := place.(map[string]any); ok && fields["namespace"] == namespace {
				fields["namespace"] = mark
			}
		}
		text, err := yaml.Marshal(o)
		if err != nil {
			return err
		}
		// Anywhere else it would stay behind in another namespace.
		for _, line := range strings.Split(string(text), "\n") {
			if strings.HasSuffix(line, ": "+namespace) {
				return fmt.Errorf("%s has the namespace in an unexpected place: %s", id, strings.TrimSpace(line))
			}
		}
	}
	return nil
}

// secrets gives a pod the place where image pull secrets go when there are any.
func (t *templates) secrets(id string) error {
	return visit(t.objects[id], strings.TrimSuffix(pod, "/"), func(v any) any {
		v.(map[string]any)["imagePullSecrets"] = t.mark("LINE{{- with .Values.imagePullSecrets }}\nimagePullSecrets: {{ toJson . }}\n{{- end }}")
		return v
	})
}

// restarts replaces a workload's pods when the address of the API server changes, which they read when they start.
func (t *templates) restarts(id string) error {
	return visit(t.objects[id], "spec/template/metadata/annotations", func(v any) any {
		v.(map[string]any)["net.hopsack.dev/apiserver"] = t.mark(`LINE{{- with .Values.apiServer }}{{ if .host }}
net.hopsack.dev/apiserver: {{ printf "%s:%v" .host .port | toJson }}
{{- end }}{{ end }}`)
		return v
	})
}

// keep lets a CRD outlive the release.
func (t *templates) keep(id string) error {
	return visit(t.objects[id], "metadata/annotations", func(v any) any {
		v.(map[string]any)["helm.sh/resource-policy"] = t.mark("LINE{{- if .Values.crds.keep }}\nhelm.sh/resource-policy: keep\n{{- end }}")
		return v
	})
}

var (
	braces = regexp.MustCompile(`\{\{|\}\}`)
	// lineMark is a mark that is a whole line, with the indentation of its first.
	lineMark = regexp.MustCompile(`(?m)^( *)[^\n]*HOPSACK-MARK-(\d+)-$`)
	anyMark  = regexp.MustCompile(`HOPSACK-MARK-(\d+)-`)
)

// print returns an object as a template.
func (t *templates) print(id string) (string, error) {
	o := t.objects[id]
	text, err := yaml.Marshal(o)
	if err != nil {
		return "", err
	}
	out := braces.ReplaceAllStringFunc(string(text), func(b string) string { return `{{ "` + b + `" }}` })
	out = lineMark.ReplaceAllStringFunc(out, func(line string) string {
		m := lineMark.FindStringSubmatch(line)
		lines, ok := strings.CutPrefix(t.expression(m[2]), "LINE")
		if !ok {
			return line
		}
		return m[1] + strings.ReplaceAll(lines, "\n", "\n"+m[1])
	})
	out = anyMark.ReplaceAllStringFunc(out, func(m string) string { return t.expression(anyMark.FindStringSubmatch(m)[1]) })
	if condition := conditions[o.kind()]; condition != "" {
		out = "{{- if .Values." + condition + " }}\n" + out + "{{- end }}\n"
	}
	return out, nil
}

func (t *templates) expression(number string) string {
	var i int
	if _, err := fmt.Sscan(number, &i); err != nil || i >= len(t.expressions) {
		return "HOPSACK-MARK-" + number + "-"
	}
	return t.expressions[i]
}
