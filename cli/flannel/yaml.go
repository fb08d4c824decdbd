package flannel

import (
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// Object is the NetworkConfig, ready to be applied.
func (r Result) Object() any {
	return struct {
		APIVersion string                     `json:"apiVersion"`
		Kind       string                     `json:"kind"`
		Metadata   map[string]string          `json:"metadata"`
		Spec       v1alpha1.NetworkConfigSpec `json:"spec"`
	}{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "NetworkConfig",
		Metadata: map[string]string{"name": v1alpha1.NetworkConfigName}, Spec: r.Spec,
	}
}

// YAML is the NetworkConfig with what there is to say as comments before it.
func (r Result) YAML() ([]byte, error) {
	var b strings.Builder
	b.WriteString("# Converted from flannel's configuration by kubectl hopsack convert.\n")
	for _, line := range r.Remarks() {
		b.WriteString("# " + line + "\n")
	}
	text, err := yaml.Marshal(r.Object())
	if err != nil {
		return nil, err
	}
	b.Write(text)
	return []byte(b.String()), nil
}

// Remarks are the dropped keys and the notes, one to a line.
func (r Result) Remarks() []string {
	var out []string
	for _, d := range r.Dropped {
		out = append(out, oneLine("not carried over: "+d))
	}
	for _, n := range r.Notes {
		out = append(out, oneLine("note: "+n))
	}
	return out
}

// oneLine keeps a value with line breaks from ending a comment: what a user wrote must not become YAML.
func oneLine(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '\n' || c == '\r' || c == '\t' || c == '\u0085' || c == '\u2028' || c == '\u2029':
			return ' '
		case c < ' ' || c == 0x7f || c == '\ufeff' || c >= 0x80 && c < 0xa0:
			return '?'
		}
		return c
	}, strings.ToValidUTF8(s, "?"))
}
