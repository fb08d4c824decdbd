package dockeropts

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const env = `# written by hopsack-agent
FLANNEL_NETWORK=10.244.0.0/16
FLANNEL_SUBNET=10.244.1.1/24
FLANNEL_MTU=1450
FLANNEL_IPMASQ=true
`

func TestRender(t *testing.T) {
	for name, tc := range map[string]struct {
		env  string
		opts Options
		want string
	}{
		"both": {env, Options{IPMasq: true}, `DOCKER_OPT_BIP="--bip=10.244.1.1/24"
DOCKER_OPT_IPMASQ="--ip-masq=false"
DOCKER_OPT_MTU="--mtu=1450"
DOCKER_OPTS="--bip=10.244.1.1/24 --ip-masq=false --mtu=1450"
`},
		"combined under another name": {env, Options{Format: Combined, Key: "OPTS", IPMasq: true},
			`OPTS="--bip=10.244.1.1/24 --ip-masq=false --mtu=1450"` + "\n"},
		"individual without masquerade": {env, Options{Format: Individual}, `DOCKER_OPT_BIP="--bip=10.244.1.1/24"
DOCKER_OPT_MTU="--mtu=1450"
`},
		"docker masquerades": {strings.Replace(env, "true", "false", 1), Options{Format: Combined, IPMasq: true},
			`DOCKER_OPTS="--bip=10.244.1.1/24 --ip-masq=true --mtu=1450"` + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Render(strings.NewReader(tc.env), tc.opts)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("Render() (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRenderNamesWhatIsWrong(t *testing.T) {
	for name, tc := range map[string]struct{ env, want string }{
		"no subnet":  {"FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n", `FLANNEL_SUBNET: "" is not`},
		"bad mtu":    {strings.Replace(env, "1450", "big", 1), `FLANNEL_MTU: "big" is not`},
		"bad ipmasq": {strings.Replace(env, "true", "maybe", 1), `FLANNEL_IPMASQ: "maybe" is neither`},
		"bad line":   {env + "what\n", `line 6: "what" is not NAME=VALUE`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Render(strings.NewReader(tc.env), Options{IPMasq: true})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Render() error = %v, want one with %q", err, tc.want)
			}
		})
	}
}
