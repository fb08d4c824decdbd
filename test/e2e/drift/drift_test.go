package drift

import (
	"strings"
	"testing"
)

func TestAllIsFilledIn(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range All(Target{PeerSubnet: "10.244.2.0/24", PeerAddr: "172.30.0.12", Network: "10.244."}) {
		if k.Name == "" || k.Break == "" || k.Shows == "" || k.Reach == "" {
			t.Errorf("%+v lacks something", k)
		}
		if seen[k.Name] {
			t.Errorf("two kinds are called %q", k.Name)
		}
		seen[k.Name] = true
		for _, placeholder := range []string{"$SUBNET", "$GATEWAY", "$PEER", "$NETWORK", "$DEV"} {
			if strings.Contains(k.Break+k.Shows, placeholder) {
				t.Errorf("%s: %s is not filled in", k.Name, placeholder)
			}
		}
	}
}

func TestPick(t *testing.T) {
	got, err := Pick(All(Target{}), "device deleted", "MTU changed")
	if err != nil || len(got) != 2 || got[0].Name != "device deleted" || got[1].Name != "MTU changed" {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := Pick(nil, "nothing"); err == nil {
		t.Error("picked a kind that does not exist")
	}
}
