package main

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// conditions writes the types of conditions, by kind as their constants are grouped.
func (p *page) conditions() {
	p.printf("\n## Conditions\n")
	for _, g := range p.source.groups {
		kind, ok := strings.CutPrefix(g.doc, "Condition types of ")
		if !ok {
			continue
		}
		kind, _, _ = strings.Cut(kind, ".")
		p.printf("\n### Of %s\n\n| type | |\n|---|---|\n", kind)
		for _, c := range g.consts {
			p.printf("| `%s` | %s |\n", c.value, condition(c))
		}
	}
}

var ofKind = regexp.MustCompile(`\((NetworkConfig|SubnetLease|NodeNetwork)\): `)

// condition is the comment of a condition type, a line for each kind and for the reasons.
func condition(c constant) string {
	text := strings.TrimLeft(strings.TrimPrefix(c.doc, c.name), " ")
	text = strings.TrimSpace(strings.TrimPrefix(text, "(agent)"))
	text = strings.TrimPrefix(strings.TrimPrefix(text, ": "), "is ")
	if len(ofKind.FindAllString(text, -1)) > 1 {
		text = ofKind.ReplaceAllString(text, "<br>**$1**: ")
	} else {
		text = ofKind.ReplaceAllString(text, "")
	}
	text = strings.ReplaceAll(text, " Reasons:", "<br>Reasons:")
	text = strings.TrimPrefix(strings.ReplaceAll(text, " <br>", "<br>"), "<br>")
	return upper(text)
}

// reasons writes what conditions, and probes, may give as a reason.
func (p *page) reasons() {
	p.printf("\n### Reasons\n\n| reason | of | |\n|---|---|---|\n")
	byValue := map[string]constant{}
	for _, c := range p.source.named("Reason") {
		byValue[c.value] = c
	}
	types := p.source.named("Condition")
	for _, value := range slices.Sorted(maps.Keys(byValue)) {
		c := byValue[value]
		var of []string
		for _, name := range slices.Sorted(maps.Keys(types)) {
			if slices.Contains(reasonsOf(types[name]), value) {
				of = append(of, types[name].value)
			}
		}
		p.printf("| `%s` | %s | %s |\n", value, strings.Join(of, ", "), fragment(c.name, c.doc))
	}
	p.printf("\nOf pairs of nodes, in `status.failingPairs` and of peers in NodeNetworks:\n\n| reason | |\n|---|---|\n")
	probes := p.source.named("Probe")
	for _, name := range slices.Sorted(maps.Keys(probes)) {
		p.printf("| `%s` | %s |\n", probes[name].value, fragment(name, probes[name].doc))
	}
}

var word = regexp.MustCompile(`[A-Za-z]+`)

// reasonsOf are the words behind "Reasons:" in the comment of a condition type.
func reasonsOf(c constant) []string {
	var out []string
	for _, part := range strings.Split(c.doc, "Reasons:")[1:] {
		out = append(out, word.FindAllString(part, -1)...)
	}
	return out
}

// names writes annotations, finalizers and other names that users meet.
func (p *page) names() {
	p.printf("\n## Annotations, finalizers and names\n\n| name | |\n|---|---|\n")
	all := map[string]constant{}
	for _, suffix := range []string{"Annotation", "Finalizer", "Name", "Confirmed"} {
		for name, c := range p.source.named("") {
			if strings.HasSuffix(name, suffix) {
				all[name] = c
			}
		}
	}
	// Comments call constants by their names, users know the values.
	for _, name := range slices.Sorted(maps.Keys(all)) {
		text := sentence(name, all[name].doc)
		for _, other := range slices.Sorted(maps.Keys(all)) {
			text = strings.ReplaceAll(text, other, "`"+all[other].value+"`")
		}
		p.printf("| `%s` | %s |\n", all[name].value, text)
	}
}

// sentence makes the comment of a thing one that stands beside its name: "mtu is the largest packet" becomes "The largest packet".
func sentence(name, doc string) string { return upper(fragment(name, doc)) }

// fragment is sentence as it is behind a colon.
func fragment(name, doc string) string {
	text, ok := strings.CutPrefix(doc, name)
	if !ok {
		return escape(doc)
	}
	text = strings.TrimLeft(text, ":, ")
	for _, verb := range []string{"is ", "are "} {
		if rest, ok := strings.CutPrefix(text, verb); ok {
			text = rest
			break
		}
	}
	return escape(text)
}

func upper(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// escape keeps Markdown from reading anything into a comment.
func escape(s string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`).Replace(s)
}

// anchor is the link to a heading, as GitHub makes it.
func anchor(heading string) string {
	return regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ReplaceAll(strings.ToLower(heading), " ", "-"), "")
}
