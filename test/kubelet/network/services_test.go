package network

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/hopsack-net/hopsack/test/kubelet/cluster"
)

// hostPort is a port of n1 that leads to the pod "ported".
const hostPort = 8085

const portedPod = `
apiVersion: v1
kind: Pod
metadata: {name: ported}
spec:
  nodeName: n1
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: ` + cluster.Agnhost + `
    args: [netexec, --http-port=8080]
    ports: [{containerPort: 8080, hostPort: 8085}]
    readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
`

const serviceManifest = `
apiVersion: v1
kind: Service
metadata: {name: %[1]s%[2]s}
spec:
  type: NodePort
  externalTrafficPolicy: %[3]s
  selector: {app: %[1]s}
  ports: [{port: 80, targetPort: %[4]d}]
---
`

// service is what a Service of one pod is asked at.
type service struct {
	pod, node string
	cluster   netip.Addr
	// open is the node port that every node leads to the pod, local the one that only the pod's own node does.
	open, local uint16
}

// stepServices runs kube-proxy in a mode and sees that Services work, and who is seen by them.
func stepServices(ctx context.Context, t *testing.T, w *world, mode string) {
	if err := w.SetProxyMode(ctx, mode); err != nil {
		t.Fatal(err)
	}
	yaml := portedPod + "---\n"
	for pod := range w.pods {
		yaml += fmt.Sprintf(serviceManifest, pod, "", "Cluster", 8080) + fmt.Sprintf(serviceManifest, pod, "-local", "Local", 8080)
	}
	for _, node := range w.nodes {
		yaml += fmt.Sprintf(serviceManifest, "host-"+node, "", "Cluster", hostPodPort)
	}
	w.apply(ctx, t, yaml)
	if err := w.AwaitNetwork(ctx); err != nil { // DNS has waited for the Service of the API server
		t.Fatal(err)
	}
	w.run(ctx, t, "wait", "--for=condition=Ready", "pod/ported", "--timeout=2m")
	var services []service
	for pod, node := range w.pods {
		ip, open := w.service(ctx, t, pod)
		_, local := w.service(ctx, t, pod+"-local")
		services = append(services, service{pod, node, ip, open, local})
	}
	outside, err := w.Addrs("client")
	if err != nil {
		t.Fatal(err)
	}
	var flows []flow
	for _, s := range services {
		flows = append(flows, w.serviceFlows(ctx, t, s, outside[0].String())...)
	}
	flows = append(flows, w.hostServiceFlows(ctx, t)...)
	w.sources(ctx, t, append(flows, w.hostPortFlows(t, outside[0].String())...))
	w.localOnly(ctx, t, services)
	w.names(ctx, t)
}

// service returns a Service's address and node port.
func (w *world) service(ctx context.Context, t *testing.T, name string) (netip.Addr, uint16) {
	t.Helper()
	out := strings.Fields(w.run(ctx, t, "get", "service", name, "-o", "jsonpath={.spec.clusterIP} {.spec.ports[0].nodePort}"))
	if len(out) != 2 {
		t.Fatalf("service %s: %q", name, out)
	}
	addr, err := netip.ParseAddr(out[0])
	if err != nil {
		t.Fatal(err)
	}
	nodePort, err := strconv.ParseUint(out[1], 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return addr, uint16(nodePort)
}

// serviceFlows ask the Service of one pod from everywhere. A pod is seen as itself, and as its node only when it asks itself, for
// otherwise it would answer itself directly; a node is seen by the address it has towards pods; what enters the cluster through a
// node that may have to pass it on is seen as that node, what enters through the pod's own node alone as who it is.
func (w *world) serviceFlows(ctx context.Context, t *testing.T, s service, client string) []flow {
	t.Helper()
	at := port(s.cluster, 80)
	var flows []flow
	for from, on := range w.pods {
		source := w.addr(ctx, t, from)
		if from == s.pod {
			source = w.stable(t, on)
		}
		flows = append(flows, flow{from, at, source.String(), s.pod})
	}
	for _, node := range w.nodes {
		stable := w.stable(t, node).String()
		flows = append(flows,
			flow{node, at, stable, s.pod},
			flow{"client", port(w.inside[node], s.open), stable, s.pod})
	}
	return append(flows, flow{"client", port(w.inside[s.node], s.local), client, s.pod})
}

// hostServiceFlows ask the Services of pods in the networks of nodes: a pod is seen there as if it had asked the node.
func (w *world) hostServiceFlows(ctx context.Context, t *testing.T) []flow {
	t.Helper()
	var flows []flow
	for _, node := range w.nodes {
		ip, _ := w.service(ctx, t, "host-"+node)
		for from, on := range w.pods {
			source := w.inside[on]
			if node == on {
				source = w.addr(ctx, t, from)
			}
			flows = append(flows, flow{from, port(ip, 80), source.String(), node})
		}
	}
	return flows
}

// hostPortFlows ask the pod "ported" at a port of its node, from outside, from every node and from every pod, itself included. The
// plugin portmap takes every pod on the bridge for one that may ask itself.
func (w *world) hostPortFlows(t *testing.T, client string) []flow {
	t.Helper()
	at := port(w.inside["n1"], hostPort)
	flows := []flow{{"client", at, client, "ported"}, {"ported", at, w.stable(t, "n1").String(), "ported"}}
	for _, node := range w.nodes {
		flows = append(flows, flow{node, at, w.inside[node].String(), "ported"})
	}
	for from, on := range w.pods {
		source := w.inside[on] // to another node's address, as to anything outside
		if on == "n1" {
			source = w.stable(t, on)
		}
		flows = append(flows, flow{from, at, source.String(), "ported"})
	}
	return flows
}

// localOnly sees that no node passes on what it may not: what such a node port led to would not see who asks.
func (w *world) localOnly(ctx context.Context, t *testing.T, services []service) {
	t.Helper()
	b, err := w.browse("client", false)
	if err != nil {
		t.Fatal(err)
	}
	var group errgroup.Group
	for _, s := range services {
		for _, node := range w.nodes {
			if node == s.node {
				continue
			}
			group.Go(func() error {
				if out, err := b.get(ctx, "http://"+port(w.inside[node], s.local)+"/hostname"); err == nil {
					t.Errorf("node %s, which has no pod of %s, leads to %s", node, s.pod, out)
				}
				return nil
			})
		}
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// names sees that pods on every node find names, with and without the domains they are told, by UDP and by TCP.
func (w *world) names(ctx context.Context, t *testing.T) {
	t.Helper()
	ip, _ := w.service(ctx, t, "p2")
	var group errgroup.Group
	for pod := range w.pods {
		group.Go(func() error {
			// A pod's own short name is its own address, by its /etc/hosts.
			out, err := w.Kubectl(ctx, "exec", pod, "--", "sh", "-c",
				"dig +short +search +notcp p2 && dig +short +tcp p2.default.svc.cluster.local && curl --silent --show-error --max-time 5 http://p2.default/hostname")
			if err != nil {
				t.Errorf("%s: %v", pod, err)
				return nil
			}
			if want := fmt.Sprintf("%[1]s\n%[1]s\np2", ip); out != want {
				t.Errorf("%s looks up p2: got %q, want %q", pod, out, want)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}
