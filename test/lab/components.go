package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/rest"

	"github.com/hopsack-net/hopsack/test/lab/internal/ns"
	"github.com/hopsack-net/hopsack/test/lab/internal/proc"
)

// The components that Start, Stop and Kill know; the agent of node n1 is "agent/n1" (see Agent).
const (
	ETCD       = "etcd"
	APIServer  = "apiserver"
	Controller = "controller"
)

const agentPrefix = "agent/"

// Agent is the component name of a node's agent.
func Agent(node string) string { return agentPrefix + node }

// component is one process of the lab.
type component struct {
	name string
	// machine is where it runs: placeControlPlane or a node.
	machine string
	argv    []string
	// health is asked inside the machine; the component is up when it answers 200. Empty for the API server, which wants
	// credentials.
	health string
}

func (c *Cluster) component(s *state, name string) (component, error) {
	switch name {
	case ETCD:
		return component{name, placeControlPlane, c.etcdArgs(), etcdURL + "/health"}, nil
	case APIServer:
		return component{name, placeControlPlane, c.apiServerArgs(s), ""}, nil
	}
	if s.Kubelet != nil {
		return c.kubeComponent(s, name)
	}
	switch name {
	case Controller:
		argv := []string{filepath.Join(c.binDir, "hopsack-controller"), "--kubeconfig=" + c.Credentials(Controller)}
		return component{name, placeControlPlane, append(argv, s.ControllerArgs...), "http://127.0.0.1:10475/healthz"}, nil
	}
	node, ok := strings.CutPrefix(name, agentPrefix)
	if !ok {
		return component{}, fmt.Errorf("unknown component %q: want agent/NODE, controller, apiserver or etcd", name)
	}
	if _, ok := s.node(node); !ok {
		return component{}, fmt.Errorf("no node %s in the lab", node)
	}
	argv := []string{filepath.Join(c.binDir, "hopsack-agent"), "--node-name=" + node, "--kubeconfig=" + c.agentKubeconfig(s, node)}
	return component{name, node, append(argv, s.AgentArgs...), "http://127.0.0.1:10473/healthz"}, nil
}

// Credentials is the path of the kubeconfig that a component uses: the controller or an agent.
func (c *Cluster) Credentials(component string) string {
	return c.path("credentials", strings.ReplaceAll(component, "/", "-")+".kubeconfig")
}

// startTimeout is how long a component may take until it is healthy.
const startTimeout = 60 * time.Second

// Start starts a component with the arguments it had before and waits until it is healthy. One that runs is left alone.
func (c *Cluster) Start(ctx context.Context, name string) error {
	return c.withState(ctx, func(s *state) error {
		if err := c.start(ctx, s, name); err != nil {
			return err
		}
		if name == APIServer && s.Kubelet == nil {
			// What booted meanwhile could not say so.
			return c.announceBoots(ctx, s)
		}
		return nil
	})
}

// start starts a component unless it runs, with what it needs, and waits until it is healthy.
func (c *Cluster) start(ctx context.Context, s *state, name string) error {
	comp, err := c.component(s, name)
	if err != nil {
		return err
	}
	if node, ok := strings.CutPrefix(name, agentPrefix); ok {
		if err := c.startProxy(ctx, s, node); err != nil {
			return err
		}
	}
	if err := c.launch(comp); err != nil {
		return err
	}
	return c.ready(ctx, comp)
}

// Stop asks a component to end (SIGTERM) and waits until it has. One that does not run is success.
func (c *Cluster) Stop(ctx context.Context, name string) error {
	return c.withState(ctx, func(s *state) error { return c.end(ctx, s, name, unix.SIGTERM) })
}

// Kill ends a component at once (SIGKILL). One that does not run is success.
func (c *Cluster) Kill(ctx context.Context, name string) error {
	return c.withState(ctx, func(s *state) error { return c.end(ctx, s, name, unix.SIGKILL) })
}

// Running says whether a component runs.
func (c *Cluster) Running(name string) bool {
	r, err := c.procs.Load(name)
	return err == nil && r.Alive()
}

// PID returns the process ID of a component as seen from outside the lab; an error when it does not run.
func (c *Cluster) PID(name string) (int, error) {
	r, err := c.procs.Load(name)
	if err == nil && !r.Alive() {
		err = proc.ErrGone
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return r.PID, nil
}

// withState runs fn under the lock, with the state of the lab that is up.
func (c *Cluster) withState(ctx context.Context, fn func(*state) error) error {
	if _, err := c.load(); err != nil {
		return err
	}
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.checkOwner(); err != nil {
		return err
	}
	s, err := c.load()
	if err != nil {
		return err
	}
	return fn(s)
}

func (c *Cluster) end(ctx context.Context, s *state, name string, sig unix.Signal) error {
	if _, err := c.component(s, name); err != nil {
		return err
	}
	r, err := c.procs.Load(name)
	if errors.Is(err, proc.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if sig != unix.SIGKILL {
		// One that stands still would not hear.
		if err := r.Signal(unix.SIGCONT); err != nil {
			return err
		}
	}
	if err := r.End(ctx, sig); err != nil {
		return err
	}
	return c.procs.Remove(name)
}

// launch starts comp unless it runs.
func (c *Cluster) launch(comp component) error {
	if c.Running(comp.name) {
		return nil
	}
	pidfd, err := c.openMachine(comp.machine)
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	_, err = c.procs.Start(c.helper, proc.Command{
		Name:  comp.name,
		Argv:  comp.argv,
		Log:   c.LogPath(comp.name),
		Env:   c.environOf(comp),
		Place: ns.Place{PIDFD: pidfd},
		Spawn: spawnCommand(comp),
	})
	if err != nil {
		// One that ends at once has said why.
		return fmt.Errorf("%w; the end of %s:\n%s", err, c.LogPath(comp.name), tail(c.LogPath(comp.name)))
	}
	return nil
}

// ready waits until comp is healthy; it gives up as soon as the process has ended.
func (c *Cluster) ready(ctx context.Context, comp component) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	check, err := c.healthCheck(comp)
	if err != nil {
		return err
	}
	exited := fmt.Errorf("%s ended right after its start", comp.name)
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	err = c.Wait(ctx, comp.name+" to be healthy", func() (bool, error) {
		if !c.Running(comp.name) {
			giveUp(exited)
			return false, nil
		}
		return true, check(ctx)
	})
	if err != nil {
		return fmt.Errorf("%w; the end of %s:\n%s", err, c.LogPath(comp.name), tail(c.LogPath(comp.name)))
	}
	return nil
}

// healthCheck returns a function that says whether comp is healthy.
func (c *Cluster) healthCheck(comp component) (func(context.Context) error, error) {
	if strings.HasPrefix(comp.health, "unix:") {
		return c.socketCheck(comp), nil
	}
	if comp.name != APIServer {
		web := &http.Client{Transport: &http.Transport{
			DialContext: dialer(netnsPath(comp.machine)), DisableKeepAlives: true,
			// It is the lab's own process that answers, with a certificate it has made up.
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		}}
		return func(ctx context.Context) error { return healthy(ctx, web, comp.health) }, nil
	}
	cfg, err := c.RESTConfig()
	if err != nil {
		return nil, err
	}
	web, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return healthy(ctx, web, cfg.Host+"/readyz") }, nil
}

// openMachine returns a pidfd of a machine's holder, which the caller closes.
func (c *Cluster) openMachine(name string) (int, error) {
	r, err := c.procs.Load(machineRecord(name))
	if err != nil {
		return 0, fmt.Errorf("machine %s does not run (repair with `lab up`): %w", name, err)
	}
	fd, err := r.Open()
	if err != nil {
		return 0, fmt.Errorf("machine %s does not run (repair with `lab up`): %w", name, err)
	}
	return fd, nil
}

// tail returns the last lines of a log, for error messages.
func tail(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(raw), "\n"), "\n")
	return "  " + strings.Join(lines[max(0, len(lines)-8):], "\n  ")
}
