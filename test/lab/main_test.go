package lab_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/hopsack-net/hopsack/test/lab"
)

// TestMain lets the test program stand in for all that the lab starts besides the control plane: the helper, the
// controller and the agent, so that the lab is tested by itself.
func TestMain(m *testing.M) {
	if handled, err := lab.RunHidden(os.Args[1:]); handled {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	switch filepath.Base(os.Args[0]) {
	case "hopsack-agent":
		fail(standInAgent())
	case "hopsack-controller":
		fail(http.ListenAndServe("127.0.0.1:10475", healthz()))
	}
	if base := os.Getenv(upEnv); base != "" {
		fail(upAlone(base))
	}
	if os.Geteuid() != 0 {
		fail(fmt.Errorf("the lab's tests make network namespaces: run them as root"))
	}
	os.Exit(m.Run())
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func healthz() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(http.ResponseWriter, *http.Request) {})
	return mux
}

// standInAgent gives its node the simplest network there is, a bridge with a range of its own, and stays healthy.
func standInAgent() error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	conf := map[string]any{
		"cniVersion": "1.0.0", "name": "stand-in",
		"plugins": []any{
			map[string]any{
				"type": "bridge", "bridge": "cni0", "isGateway": true,
				"ipam": map[string]any{
					"type": "host-local", "dataDir": "/run/ipam",
					"ranges": []any{[]any{map[string]string{"subnet": "10.244." + name[1:] + ".0/24"}}},
					"routes": []any{map[string]string{"dst": "0.0.0.0/0"}},
				},
			},
			map[string]any{"type": "portmap", "capabilities": map[string]bool{"portMappings": true}},
		},
	}
	raw, err := json.Marshal(conf)
	if err != nil {
		return err
	}
	if err := os.MkdirAll("/etc/cni/net.d", 0o755); err != nil {
		return err
	}
	if err := os.WriteFile("/etc/cni/net.d/10-stand-in.conflist", raw, 0o644); err != nil {
		return err
	}
	return http.ListenAndServe("127.0.0.1:10473", healthz())
}

// newCluster returns a handle on a lab of its own, which is taken down with the test.
func newCluster(t *testing.T) *lab.Cluster {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	links := map[string]string{
		"controlplane": filepath.Join(root, "bin", "controlplane"), "cni": filepath.Join(root, "bin", "cni"),
		"hopsack-agent": self, "hopsack-controller": self, "hopsack-cni": self,
	}
	for name, target := range links {
		if _, err := os.Stat(target); err != nil {
			t.Fatalf("%s is missing: build it with `make lab`", target)
		}
		if err := os.Symlink(target, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := lab.OpenConfig(lab.Config{Dir: filepath.Join(dir, "state"), BinDir: bin, Helper: self, Out: writer{t}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// writer sends progress to the test's log.
type writer struct{ t *testing.T }

func (w writer) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}
