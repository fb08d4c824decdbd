package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/test/lab/internal/ns"
)

// dialer returns a dial function whose connections are made inside the network namespace at path.
func dialer(path string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		var conn net.Conn
		err := ns.InNetNS(path, func() error {
			var err error
			// addr is an address, not a name: the dialer makes its one socket on this thread.
			conn, err = (&net.Dialer{}).DialContext(ctx, network, addr)
			return err
		})
		return conn, err
	}
}

// RESTConfig returns the administrator's client configuration, usable from this process although the API server can be
// reached from inside the lab only. It sets no rate limit.
func (c *Cluster) RESTConfig() (*rest.Config, error) {
	if _, err := c.load(); err != nil {
		return nil, err
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", c.KubeconfigPath())
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	cfg.Dial = dialer(netnsPath(placeControlPlane))
	cfg.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	cfg.QPS = -1
	return cfg, nil
}

// Scheme returns a scheme with the core API types and hopsack's.
func Scheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	return scheme, errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
}

// Client returns an administrator's client for the core types and hopsack's.
func (c *Cluster) Client() (client.WithWatch, error) {
	cfg, err := c.RESTConfig()
	if err != nil {
		return nil, err
	}
	scheme, err := Scheme()
	if err != nil {
		return nil, err
	}
	return client.NewWithWatch(cfg, client.Options{Scheme: scheme})
}

// KubectlCommand returns the lab's kubectl as administrator, with the caller's environment and no streams attached. Start it
// with StartKubectl.
func (c *Cluster) KubectlCommand(ctx context.Context, args ...string) (*exec.Cmd, error) {
	if _, err := c.load(); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, c.controlPlaneBin("kubectl"), args...)
	// kubectl finds kubectl-hopsack, its plugin, on the PATH.
	cmd.Env = append(environ(), "KUBECONFIG="+c.KubeconfigPath(), "PATH="+c.binDir+":"+os.Getenv("PATH"))
	return cmd, nil
}

// environ returns this process's environment without proxies: they know nothing of the lab's addresses.
func environ() []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return strings.HasSuffix(strings.ToLower(name), "_proxy")
	})
}

// StartKubectl starts a command of KubectlCommand where the API server can be reached; the caller calls cmd.Wait.
func (c *Cluster) StartKubectl(cmd *exec.Cmd) error {
	if err := (ns.Place{NetNS: netnsPath(placeControlPlane)}).Start(cmd); err != nil {
		return fmt.Errorf("start kubectl: %w", err)
	}
	return nil
}

// Kubectl runs kubectl as administrator and returns what it printed. A failure carries what it said.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	return c.kubectl(ctx, nil, args...)
}

func (c *Cluster) kubectl(ctx context.Context, stdin []byte, args ...string) (string, error) {
	cmd, err := c.KubectlCommand(ctx, args...)
	if err != nil {
		return "", err
	}
	var out, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &stderr
	if err := c.StartKubectl(cmd); err != nil {
		return "", err
	}
	if err := cmd.Wait(); err != nil {
		return out.String(), errors.Join(fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String())), ctx.Err())
	}
	return out.String(), nil
}

// Apply applies YAML documents as `kubectl apply -f -` does and returns what kubectl printed; a refusal by the API server
// is in the error, word for word.
func (c *Cluster) Apply(ctx context.Context, yaml string) (string, error) {
	return c.kubectl(ctx, []byte(yaml), "apply", "-f", "-")
}

// Wait calls done until it says true, every 50 ms. When ctx ends first the error names desc and the last error of done;
// an error alone does not end the wait.
func (c *Cluster) Wait(ctx context.Context, desc string, done func() (bool, error)) error {
	for {
		ok, err := done()
		if ok && err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("wait for %s: %w", desc, context.Cause(ctx)), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// healthy asks url; any answer but 200 is an error.
func healthy(ctx context.Context, web *http.Client, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := web.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}
