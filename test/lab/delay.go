package lab

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/hopsack-net/hopsack/test/lab/internal/delay"
)

// delayable are the resources whose watches can lag, by the names that Delay takes.
var delayable = map[string]string{"leases": "subnetleases", "nodenetworks": "nodenetworks"}

// maxDelay is longer than any time-out that a lag could be meant to meet.
const maxDelay = time.Hour

// proxy is the component that stands between a node's agent and the API server.
func proxy(node string) string { return "proxy/" + node }

func (c *Cluster) delayPath(node string) string { return c.path("delays", node+".json") }

// Delay has everything that an agent's watch of a resource ("leases" or "nodenetworks") delivers arrive d later than it was
// sent; 0 ends that, and what is under way arrives at once. Requests and other watches are not delayed. The first delay of an
// agent restarts it, because from then on it speaks to the API server through a proxy on its node, also after a delay of 0 and
// after a reboot.
func (c *Cluster) Delay(ctx context.Context, component, resource string, d time.Duration) error {
	node, ok := strings.CutPrefix(component, agentPrefix)
	if !ok {
		return fmt.Errorf("delay %q: want agent/NODE", component)
	}
	plural, ok := delayable[resource]
	if !ok {
		return fmt.Errorf("delay %q: want leases or nodenetworks", resource)
	}
	if d < 0 || d > maxDelay {
		return fmt.Errorf("delay of %s: want 0 to %s", d, maxDelay)
	}
	return c.withState(ctx, func(s *state) error {
		if s.Kubelet != nil {
			return fmt.Errorf("delay %s: in a lab with kubelets the agents are pods", component)
		}
		if _, ok := s.node(node); !ok {
			return fmt.Errorf("no node %s in the lab", node)
		}
		behind := s.Delays[node] != nil
		if !behind && d == 0 {
			return nil
		}
		if s.Delays == nil {
			s.Delays = map[string]map[string]time.Duration{}
		}
		if !behind {
			s.Delays[node] = map[string]time.Duration{}
		}
		delete(s.Delays[node], plural)
		if d > 0 {
			s.Delays[node][plural] = d
		}
		if err := writeJSON(c.delayPath(node), s.Delays[node]); err != nil {
			return err
		}
		if err := c.save(s); err != nil || behind {
			return err
		}
		return c.moveBehindProxy(ctx, s, node)
	})
}

// moveBehindProxy restarts an agent that runs, with the proxy in front of it.
func (c *Cluster) moveBehindProxy(ctx context.Context, s *state, node string) error {
	if !c.Running(Agent(node)) {
		return nil
	}
	if err := c.end(ctx, s, Agent(node), unix.SIGTERM); err != nil {
		return err
	}
	return c.start(ctx, s, Agent(node))
}

// agentKubeconfig is what a node's agent is started with.
func (c *Cluster) agentKubeconfig(s *state, node string) string {
	if s.Delays[node] == nil {
		return c.Credentials(Agent(node))
	}
	return c.Credentials(proxy(node))
}

// startProxy starts the proxy of a node whose agent has one, and writes the kubeconfig that leads to it. The proxy has the
// agent's credentials; the way to it is plain HTTP on the node's loopback device.
func (c *Cluster) startProxy(ctx context.Context, s *state, node string) error {
	if s.Delays[node] == nil {
		return nil
	}
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters["lab"] = &clientcmdapi.Cluster{Server: "http://" + delay.Address}
	cfg.Contexts["lab"] = &clientcmdapi.Context{Cluster: "lab"}
	cfg.CurrentContext = "lab"
	if err := clientcmd.WriteToFile(*cfg, c.Credentials(proxy(node))); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	if _, err := os.Stat(c.delayPath(node)); err != nil {
		return err
	}
	comp := component{
		name: proxy(node), machine: node, health: "http://" + delay.Address + delay.HealthPath,
		argv: []string{c.helper, delay.Command, c.Credentials(Agent(node)), c.delayPath(node)},
	}
	if err := c.launch(comp); err != nil {
		return err
	}
	return c.ready(ctx, comp)
}
