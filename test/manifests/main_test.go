package manifests

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// Set by TestMain: the folder of the repository, of the programs of the control plane, and an administrator.
var (
	root, programs, kubeconfig string
	admin                      *rest.Config
)

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	ctrl.SetLogger(logr.Discard())
	stop, err := startControlPlane()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer stop()
	return m.Run()
}

func startControlPlane() (stop func(), err error) {
	if root, err = filepath.Abs(filepath.Join("..", "..")); err != nil {
		return nil, err
	}
	if programs = os.Getenv("HOPSACK_CONTROLPLANE_BIN"); programs == "" {
		programs = filepath.Join(root, "bin", "controlplane")
	}
	for _, p := range []string{"etcd", "kube-apiserver", "kubectl"} {
		if _, err := os.Stat(filepath.Join(programs, p)); err != nil {
			return nil, fmt.Errorf("%s is not in %s: build it with `make lab`, or name its folder in HOPSACK_CONTROLPLANE_BIN", p, programs)
		}
	}
	env := &envtest.Environment{BinaryAssetsDirectory: programs}
	if admin, err = env.Start(); err != nil {
		return nil, fmt.Errorf("start API server: %w", err)
	}
	dir, err := os.MkdirTemp("", "hopsack-manifests")
	if err != nil {
		return nil, err
	}
	kubeconfig = filepath.Join(dir, "kubeconfig")
	stop = func() {
		os.RemoveAll(dir)
		if err := env.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	return stop, os.WriteFile(kubeconfig, env.KubeConfig, 0o600)
}

// run runs a program in the folder of the repository, with input, and returns what it printed.
func run(t *testing.T, input []byte, args ...string) (string, error) {
	t.Helper()
	home := t.TempDir()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Stdin = root, bytes.NewReader(input)
	// Nothing of the user's, and nothing into it.
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// must is run for what has to work.
func must(t *testing.T, input []byte, args ...string) string {
	t.Helper()
	out, err := run(t, input, args...)
	if err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
	return out
}

func kubectl(t *testing.T, input []byte, args ...string) string {
	t.Helper()
	return must(t, input, append([]string{filepath.Join(programs, "kubectl")}, args...)...)
}

func helm(t *testing.T, args ...string) string {
	t.Helper()
	return must(t, nil, append([]string{"go", "tool", "-modfile=hack/tools/helm/go.mod", "helm"}, args...)...)
}

// render is what kustomize makes of a folder.
func render(t *testing.T, dir string) []byte {
	t.Helper()
	return []byte(kubectl(t, nil, "kustomize", dir))
}
