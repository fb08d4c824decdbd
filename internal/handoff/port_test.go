package handoff

import "testing"

func TestPort(t *testing.T) {
	for alias, want := range map[string]Port{
		"hopsack-pod":                  {},
		"hopsack-pod hairpin":          {Hairpin: true},
		"hopsack-pod isolated":         {Isolated: true},
		"hopsack-pod hairpin isolated": {Hairpin: true, Isolated: true},
	} {
		if got := want.Alias(); got != alias {
			t.Errorf("alias of %+v: got %q, want %q", want, got, alias)
		}
		if got, ok := ParsePort(alias); !ok || got != want {
			t.Errorf("%q: got %+v, %t, want %+v", alias, got, ok, want)
		}
	}
	if got, ok := ParsePort("hopsack-pod isolated later=1"); !ok || got != (Port{Isolated: true}) {
		t.Errorf("a word of a later version: got %+v, %t, want an isolated port", got, ok)
	}
	for _, alias := range []string{"", "hopsack", "hopsack-podium", "x hopsack-pod", " hopsack-pod"} {
		if got, ok := ParsePort(alias); ok {
			t.Errorf("%q: got port %+v, want none", alias, got)
		}
	}
}
