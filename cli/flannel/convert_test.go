package flannel

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
)

var update = flag.Bool("update", false, "write testdata/*.yaml")

// TestConvert converts every testdata/*.in into the .yaml beside it. test/cli has the API server judge those.
func TestConvert(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.in")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no inputs: %v", err)
	}
	for _, in := range inputs {
		name := strings.TrimSuffix(filepath.Base(in), ".in")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(in)
			if err != nil {
				t.Fatal(err)
			}
			var o Options
			if strings.HasSuffix(name, "-replaced") {
				o.Backend = v1alpha1.BackendVXLAN
			}
			r, err := Convert(data, o)
			if err != nil {
				t.Fatalf("Convert: %v", err)
			}
			got, err := r.YAML()
			if err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(in, ".in") + ".yaml"
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", golden, diff)
			}
		})
	}
}

func TestConvertRefuses(t *testing.T) {
	network := func(backend string) string { return `{"Network": "10.244.0.0/16", "Backend": ` + backend + `}` }
	tests := map[string]struct{ in, want string }{
		"nothing":            {"  \n", "the input is empty"},
		"no configuration":   {"kind: Pod\nmetadata: {name: x}\n", "there is no flannel configuration in it"},
		"plain text":         {"hello", "there is no flannel configuration in it"},
		"two configurations": {"data: {net-conf.json: '{}'}\nkind: ConfigMap\n---\ndata: {net-conf.json: '{}'}\nkind: ConfigMap\n", "more than one net-conf.json"},
		"trailing comma":     {"{\n\"Network\": \"10.244.0.0/16\",\n}", "net-conf.json: line 3 is not JSON"},
		"cut off":            {`{"Network": "10.244.0.0/16", "Backend": {`, "net-conf.json: the JSON ends too early"},
		"no network":         {`{"Backend": {"Type": "vxlan"}}`, "Network: it is missing"},
		"network of IPv6":    {`{"Network": "fd00::/48"}`, `Network: "fd00::/48" is not an IPv4 CIDR`},
		"network too small":  {`{"Network": "10.244.0.0/28"}`, "Network: 10.244.0.0/28: its prefix length is not between 8 and 27"},
		"network cut small":  {`{"Network": "10.244.0.0/27"}`, "flannel would cut it into /29"},
		"loopback":           {`{"Network": "127.0.0.0/8"}`, "hopsack cannot use the result: "},
		"subnets too small":  {`{"Network": "10.244.0.0/16", "SubnetLen": 30}`, "SubnetLen: 30 is not between 17"},
		"subnets too large":  {`{"Network": "10.244.0.0/16", "SubnetLen": 16}`, "SubnetLen: 16 is not between 17"},
		"length of a word":   {`{"Network": "10.244.0.0/16", "SubnetLen": "big"}`, `SubnetLen: "big" is not a whole number`},
		"unaligned bound":    {`{"Network": "10.244.0.0/16", "SubnetMin": "10.244.10.5"}`, "SubnetMin: 10.244.10.5 is not the first address of a /24, did you mean 10.244.10.0"},
		"bound of another length": {`{"Network": "10.244.0.0/16", "SubnetLen": 25, "SubnetMin": "10.244.10.0/24"}`,
			"SubnetMin: 10.244.10.0/24 is a /24, but subnets are /25"},
		"bound outside":     {`{"Network": "10.244.0.0/16", "SubnetMax": "10.245.0.0"}`, "SubnetMax: 10.245.0.0 is not inside Network"},
		"bounds exchanged":  {`{"Network": "10.244.0.0/16", "SubnetMin": "10.244.9.0", "SubnetMax": "10.244.8.0"}`, "hopsack cannot use the result: "},
		"IPv6 only":         {`{"Network": "10.244.0.0/16", "EnableIPv4": false}`, "EnableIPv4: false"},
		"odd boolean":       {`{"Network": "10.244.0.0/16", "EnableIPv6": "maybe"}`, `EnableIPv6: "maybe" is neither true nor false`},
		"no type":           {network(`{}`), "Backend.Type: it is missing"},
		"unknown backend":   {network(`{"Type": "geneve"}`), `Backend.Type: flannel has no backend "geneve"`},
		"backend no object": {network(`"vxlan"`), "Backend: want a JSON object"},
		"wireguard":         {network(`{"Type": "WireGuard"}`), "Backend.Type: WireGuard: it encrypts"},
		"ipsec":             {network(`{"Type": "ipsec", "PSK": "x"}`), "Backend.Type: ipsec: it encrypts"},
		"ipip":              {network(`{"Type": "ipip", "DirectRouting": true}`), "choose with --backend, for example vxlan"},
		"extension":         {network(`{"Type": "extension"}`), "hopsack runs no commands"},
		"aws-vpc":           {network(`{"Type": "aws-vpc"}`), "choose with --backend: alloc"},
		"gce":               {network(`{"Type": "gce"}`), "hopsack writes no route tables"},
		"ali-vpc":           {network(`{"Type": "ali-vpc"}`), "hopsack writes no route tables"},
		"tencent-vpc":       {network(`{"Type": "tencent-vpc"}`), "hopsack writes no route tables"},
		"vni":               {network(`{"Type": "vxlan", "VNI": 16777216}`), "Backend.VNI: 16777216 is not between"},
		"vni zero":          {network(`{"Type": "vxlan", "VNI": 0}`), "Backend.VNI: 0 is not between"},
		"port":              {network(`{"Type": "udp", "Port": 65536}`), "Backend.Port: 65536 is not between"},
		"port and a bit":    {network(`{"Type": "vxlan", "Port": 8472.5}`), `Backend.Port: "8472.5" is not a whole number`},
		"mtu":               {network(`{"Type": "vxlan", "MTU": 100}`), "Backend.MTU: 100 is not between"},
		"cni":               {"data: {net-conf.json: '" + network(`{"Type": "vxlan"}`) + "', cni-conf.json: '{]'}\nkind: ConfigMap", "cni-conf.json: "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Convert([]byte(tt.in), Options{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error: got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestEveryKeyIsNamed gives each backend all its keys and expects every one in the result or among the remarks.
func TestEveryKeyIsNamed(t *testing.T) {
	for _, backend := range []string{"vxlan", "host-gw", "udp", "alloc", "wireguard", "ipip", "ipsec", "extension", "aws-vpc", "gce", "ali-vpc", "tencent-vpc"} {
		keys, known := backendKeys(backend)
		if !known {
			t.Fatalf("backend %s is unknown", backend)
		}
		settings := map[string]any{"Type": backend}
		for _, k := range keys {
			settings[k] = 700
			if k == "DirectRouting" || k == "GBP" || k == "Learning" {
				settings[k] = true
			}
			if secret(k) {
				settings[k] = "hunter2"
			}
		}
		in, err := yaml.Marshal(map[string]any{"Network": "10.244.0.0/16", "Backend": settings})
		if err != nil {
			t.Fatal(err)
		}
		asJSON, err := yaml.YAMLToJSON(in)
		if err != nil {
			t.Fatal(err)
		}
		var o Options
		if impossible(backend) != "" {
			o.Backend = v1alpha1.BackendHostGW
		}
		r, err := Convert(asJSON, o)
		if err != nil {
			t.Errorf("%s: %v", backend, err)
			continue
		}
		remarks := strings.Join(r.Remarks(), "\n")
		for _, k := range keys {
			carried := o.Backend == "" && (k == "VNI" || k == "Port" || k == "MTU" || k == "DirectRouting")
			if named := strings.Contains(remarks, "not carried over: Backend."+k+":"); named == carried {
				t.Errorf("%s: key %s: named as not carried over: %v, want %v", backend, k, named, !carried)
			}
			if secret(k) && strings.Contains(remarks, "hunter2") {
				t.Errorf("%s: the value of the secret %s is among the remarks:\n%s", backend, k, remarks)
			}
		}
	}
}

// FuzzConvert: whatever comes in, what comes out is a NetworkConfig that the controller would take, in YAML that says so.
func FuzzConvert(f *testing.F) {
	inputs, err := filepath.Glob("testdata/*.in")
	if err != nil {
		f.Fatal(err)
	}
	for _, in := range inputs {
		data, err := os.ReadFile(in)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Convert(data, Options{})
		if err != nil {
			return
		}
		text, err := r.YAML()
		if err != nil {
			t.Fatalf("print: %v", err)
		}
		var back v1alpha1.NetworkConfig
		if err := yaml.UnmarshalStrict(text, &back); err != nil {
			t.Fatalf("%v in:\n%s", err, text)
		}
		if _, err := network.FromAPI(&back); err != nil {
			t.Fatalf("%v in:\n%s", err, text)
		}
	})
}

// TestWholeName compares where flannel finds a match with where the result, anchored as hopsack anchors it, has one.
func TestWholeName(t *testing.T) {
	names := []string{"", "eth0", "eth10", "veth0", "eth", "bond0", "bond0.100", "ens3", "xens3", "ens3x", "a$", "a$b", "a"}
	for expr, want := range map[string]string{
		`^ens[0-9]+$`: `ens[0-9]+`,
		`^bond`:       `bond.*`,
		`eth`:         `.*eth.*`,
		`0$`:          `.*0`,
		`a\$`:         `.*a\$.*`,
		`^eth|bond0$`: `.*(?:^eth|bond0$).*`,
		`^(eth|ens)`:  `.*(?:^(eth|ens)).*`,
		`^*eth`:       `.*(?:^*eth).*`,
		`(?i)^ETH`:    `.*(?i)^ETH.*`,
		``:            `.*.*`,
	} {
		got := wholeName(expr)
		if got != want {
			t.Errorf("wholeName(%q) = %q, want %q", expr, got, want)
		}
		found, whole := regexp.MustCompile(expr), regexp.MustCompile("^(?:"+got+")$")
		for _, name := range names {
			if got, want := whole.MatchString(name), found.MatchString(name); got != want {
				t.Errorf("wholeName(%q) matches %q: %v, flannel: %v", expr, name, got, want)
			}
		}
	}
}
