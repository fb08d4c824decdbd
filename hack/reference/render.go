package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// page is the page while it grows.
type page struct {
	source   *source
	defaults defaults
	b        strings.Builder
	// sections has the heading under which a type is described, once it is.
	sections map[string]string
	// explained has the types whose values are listed already.
	explained map[string]bool
}

func (p *page) printf(format string, args ...any) { fmt.Fprintf(&p.b, format, args...) }

const intro = `# Reference

Made from the types in [api/v1alpha1](../api/v1alpha1) by ` + "`make generate`" + `. ` + "`kubectl explain networkconfig.spec`" + ` says the same of each field.

A user writes one [NetworkConfig](#networkconfig), named ` + "`default`" + `, and where a node is to have a certain subnet a
[SubnetLease](#subnetlease); [NodeNetworks](#nodenetwork) are to be read. Two fields are required, ` + "`spec.network`" + ` and
` + "`spec.backend.type`" + `. Defaults are filled in by the controller and shown in ` + "`status.effective`" + `; those below are for the network
` + exampleNetwork + `. Fields that cannot change on a running cluster say so. A change of ` + "`backend` or `mtu`" + ` is
[rolled out](changing-the-backend.md), everything else is in effect within seconds. Examples are in [config/samples](../config/samples).
`

func (p *page) render() (string, error) {
	p.b.WriteString(intro)
	for _, k := range p.source.kinds() {
		if err := p.kind(k); err != nil {
			return "", err
		}
	}
	p.conditions()
	p.reasons()
	p.names()
	return p.b.String(), nil
}

// kind writes the sections of an object and of all that is in it.
func (p *page) kind(k *apiType) error {
	p.printf("\n## %s\n\n%s\n", k.name, escape(k.doc))
	p.refusals(k, nil)
	p.columns(k)
	for _, f := range p.source.allFields(k) {
		if f.json != "metadata" {
			if err := p.section(k.name+"."+f.json, f.typ); err != nil {
				return err
			}
		}
	}
	return nil
}

var column = regexp.MustCompile("printcolumn:name=\"([^\"]*)\",type=\\w+,(priority=1,)?JSONPath=`([^`]*)`")

// columns tells what kubectl get prints.
func (p *page) columns(k *apiType) {
	short, _ := marker(k.markers, "resource:scope")
	_, short, _ = strings.Cut(short, "shortName=")
	short, _, _ = strings.Cut(short, ",")
	p.printf("\n`kubectl get %s` prints:\n\n| column | from |\n|---|---|\n", short)
	for _, m := range k.markers {
		if c := column.FindStringSubmatch(m); c != nil {
			wide := ""
			if c[2] != "" {
				wide = " (with `-o wide`)"
			}
			p.printf("| %s | `%s`%s |\n", c[1], strings.TrimPrefix(c[3], "."), wide)
		}
	}
}

// section writes the table of a struct at a path, and then the sections of what is in it.
func (p *page) section(path, typ string) error {
	t, ok := p.source.types[typ]
	if !ok {
		return fmt.Errorf("%s: type %s is not known", path, typ)
	}
	p.sections[typ] = path
	fields := p.source.allFields(t)
	p.printf("\n### %s\n\n%s\n", path, sentence(t.name, t.doc))
	if len(fields) == 0 {
		return nil
	}
	_, below, _ := strings.Cut(path, ".")
	withDefaults := strings.HasPrefix(path, "NetworkConfig.spec")
	if withDefaults {
		p.printf("\n| field | type | default | |\n|---|---|---|---|\n")
	} else {
		p.printf("\n| field | type | |\n|---|---|---|\n")
	}
	var deeper []field
	for _, f := range fields {
		if f.doc == "" {
			return fmt.Errorf("%s.%s has no comment", path, f.json)
		}
		typeText, enter := p.typeText(path, f)
		if enter {
			deeper = append(deeper, f)
		}
		if withDefaults {
			value := p.defaults[below+"."+f.json]
			if value != "" {
				value = "`" + value + "`"
			}
			p.printf("| `%s` | %s | %s | %s |\n", f.json, typeText, value, sentence(f.json, f.doc))
		} else {
			p.printf("| `%s` | %s | %s |\n", f.json, typeText, sentence(f.json, f.doc))
		}
	}
	p.values(fields)
	p.refusals(t, fields)
	for _, f := range deeper {
		if err := p.section(elementPath(path, f), f.typ); err != nil {
			return err
		}
	}
	return nil
}

// elementPath is the path of a field, with brackets where it is a list.
func elementPath(path string, f field) string {
	if f.list {
		return path + "." + f.json + "[]"
	}
	return path + "." + f.json
}

// external are the types of Kubernetes' own, and Go's.
var external = map[string]string{
	"string": "string", "int32": "integer", "int64": "integer", "bool": "boolean",
	"LabelSelector": "[label selector](https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/label-selector/)",
	"Condition":     "[condition](#conditions)", "Time": "time", "MicroTime": "time",
	"RawExtension": "object", "IntOrString": "integer or string",
}

// typeText is what the column about types says, and whether the type gets a section of its own below this one.
func (p *page) typeText(path string, f field) (text string, enter bool) {
	t := p.source.types[f.typ]
	switch {
	case t == nil:
		text = external[f.typ]
	case t.basic != "":
		var values []string
		for _, c := range p.source.values(f.typ) {
			values = append(values, "`"+c.value+"`")
		}
		text = strings.Join(values, ", ")
	case p.sections[f.typ] != "":
		text = fmt.Sprintf("as [%s](#%s)", p.sections[f.typ], anchor(p.sections[f.typ]))
	default:
		enter = true
		text = fmt.Sprintf("[object](#%s)", anchor(elementPath(path, f)))
		p.sections[f.typ] = elementPath(path, f)
	}
	if f.list {
		text = "list of " + strings.TrimPrefix(text, "as ")
		if n, ok := marker(f.markers, "validation:MaxItems"); ok {
			text += ", at most " + n
		}
	}
	if slices.Contains(f.markers, "+required") {
		text += ", required"
	}
	return text, enter
}

// values explains the values of fields, each type once.
func (p *page) values(fields []field) {
	for _, f := range fields {
		var lines []string
		for _, c := range p.source.values(f.typ) {
			if c.doc != "" {
				lines = append(lines, fmt.Sprintf("- `%s`: %s\n", c.value, fragment(c.name, c.doc)))
			}
		}
		if len(lines) > 0 && !p.explained[f.typ] {
			p.explained[f.typ] = true
			p.printf("\n`%s`:\n\n%s", f.json, strings.Join(lines, ""))
		}
	}
}

// refusals lists what the API server says to a spec that breaks a rule.
func (p *page) refusals(t *apiType, fields []field) {
	all := rules(t.markers)
	for _, f := range fields {
		all = append(all, rules(f.markers)...)
	}
	if len(all) == 0 {
		return
	}
	p.printf("\nThe API server refuses what breaks a rule:\n\n")
	for i, r := range all {
		if !slices.Contains(all[:i], r) {
			p.printf("- %s\n", escape(r))
		}
	}
}
