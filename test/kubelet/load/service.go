package load

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/test/kubelet/cluster"
)

// webManifest is a Deployment that answers HTTP with its pods' names, spread over nodes, and its Service.
const webManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      terminationGracePeriodSeconds: 0
      affinity:
        nodeAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [%[3]s]}]}]
      topologySpreadConstraints:
      - maxSkew: 1
        topologyKey: kubernetes.io/hostname
        whenUnsatisfiable: DoNotSchedule
        labelSelector: {matchLabels: {app: %[1]s}}
      containers:
      - name: c
        image: ` + cluster.Agnhost + `
        args: [netexec, --http-port=8080, --udp-port=8081]
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec: {type: NodePort, selector: {app: %[1]s}, ports: [{name: http, port: 80, targetPort: 8080}]}
`

// Service is where a Deployment is asked.
type Service struct {
	Name      string
	ClusterIP netip.Addr
	NodePort  uint16
	// Nodes are those that its pods are on.
	Nodes []string
}

// Deploy makes a Deployment with pods on some nodes and a Service for it, and returns when all pods are Ready.
func Deploy(ctx context.Context, c *cluster.Cluster, name string, replicas int, nodes ...string) (Service, error) {
	out := Service{Name: name, Nodes: nodes}
	if _, err := c.Apply(ctx, fmt.Sprintf(webManifest, name, replicas, strings.Join(nodes, ", "))); err != nil {
		return out, err
	}
	if _, err := c.Kubectl(ctx, "rollout", "status", "deploy/"+name, "--timeout=2m"); err != nil {
		return out, err
	}
	api, err := c.Client()
	if err != nil {
		return out, err
	}
	var svc corev1.Service
	if err := api.Get(ctx, client.ObjectKey{Namespace: "default", Name: name}, &svc); err != nil {
		return out, fmt.Errorf("read service %s: %w", name, err)
	}
	out.NodePort = uint16(svc.Spec.Ports[0].NodePort)
	out.ClusterIP, err = netip.ParseAddr(svc.Spec.ClusterIP)
	return out, err
}

// Clients are pods p<i>, nodes n<i> and the machine outside, which ask a Service from and through some nodes. Each of the three
// kinds sends rate requests per second in total.
func Clients(c *cluster.Cluster, svc Service, rate float64, nodes ...string) ([]Client, error) {
	var out []Client
	inside := netip.AddrPortFrom(svc.ClusterIP, 80)
	for _, node := range nodes {
		addrs, err := c.Addrs(node)
		if err != nil {
			return nil, err
		}
		pod := "p" + strings.TrimPrefix(node, "n")
		for _, client := range []Client{
			{Name: pod, Kind: FromPods, Target: inside},
			{Name: "client", Kind: FromOutside, Target: netip.AddrPortFrom(addrs[0], svc.NodePort)},
			{Name: node, Kind: FromNodes, Target: inside},
		} {
			if client.NetNS, err = c.NetNS(client.Name); err != nil {
				return nil, err
			}
			client.Rate = rate / float64(len(nodes))
			out = append(out, client)
		}
	}
	return out, nil
}
