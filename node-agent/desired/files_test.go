package desired

import (
	"testing"

	"github.com/containernetworking/cni/libcni"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
)

// The version that a runtime of today makes of the file decides whether it asks for STATUS at all; older ones read cniVersion.
func TestConflistHasRuntimesAskForStatus(t *testing.T) {
	for name, tc := range map[string]struct {
		cni  network.CNI
		want string
	}{
		"as installed":          {network.CNI{PortMappings: true}, "1.1.0"},
		"without portmap":       {network.CNI{}, "1.1.0"},
		"plugins of the user's": {network.CNI{Plugins: []v1alpha1.ChainedPlugin{{Type: "tuning"}}}, "1.0.0"},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := conflist(tc.cni, "/run/hopsack/cni.json")
			if err != nil {
				t.Fatal(err)
			}
			list, err := libcni.ConfListFromBytes([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if list.CNIVersion != tc.want {
				t.Errorf("a runtime takes version %s, want %s", list.CNIVersion, tc.want)
			}
		})
	}
}
