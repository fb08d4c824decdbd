package cluster

import (
	"context"
	"fmt"
	"strings"
)

// podManifest is a pod that answers HTTP on port 8080 and UDP on 8081 with its name and the address it is asked from
// (/hostname, /clientip), and that asks others (/dial).
const podManifest = `
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, labels: {app: %[1]s}}
spec:
  nodeName: %[2]s
  terminationGracePeriodSeconds: 0
  tolerations: [{operator: Exists}]
  containers:
  - name: c
    image: ` + Agnhost + `
    args: [netexec, --http-port=8080, --udp-port=8081]
    ports: [{containerPort: 8080}]
    readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
---
`

// Pods makes pods, each given as NAME@NODE, and waits until all are Ready.
func (c *Cluster) Pods(ctx context.Context, pods ...string) error {
	var yaml strings.Builder
	args := []string{"wait", "--for=condition=Ready", "--timeout=2m"}
	for _, pod := range pods {
		name, node, ok := strings.Cut(pod, "@")
		if !ok {
			return fmt.Errorf("pod %q: want NAME@NODE", pod)
		}
		fmt.Fprintf(&yaml, podManifest, name, node)
		args = append(args, "pod/"+name)
	}
	if out, err := c.Apply(ctx, yaml.String()); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	_, err := c.Kubectl(ctx, args...)
	return err
}

// Get asks for a URL from a node, from a pod's network or from another place of the lab, and returns the body.
func (c *Cluster) Get(ctx context.Context, from, url string) (string, error) {
	return c.Exec(ctx, from, "curl", "--silent", "--show-error", "--fail", "--max-time", "5", url)
}
