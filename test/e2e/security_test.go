package e2e

import (
	"strings"
	"testing"

	"github.com/hopsack-net/hopsack/test/lab"
)

// A node speaks only for itself: what its agent's credentials may do, on the real API server with what we ship.
func TestAgentCredentials(t *testing.T) {
	kubeconfig := cluster.Credentials(lab.Agent("n1"))
	for name, tc := range map[string]struct {
		args    []string
		refused string // empty: allowed
	}{
		"read leases":               {args: []string{"get", "subnetleases"}},
		"own status":                {args: []string{"patch", "nodenetwork", "n1", "--subresource=status", "--type=merge", "-p", `{"status":{"interface":"eth0"}}`}},
		"another node's status":     {args: []string{"patch", "nodenetwork", "n2", "--subresource=status", "--type=merge", "-p", `{"status":{"publicIPs":["172.30.0.11"]}}`}, refused: "n1"},
		"own spec":                  {args: []string{"patch", "nodenetwork", "n1", "--type=merge", "-p", `{"spec":{"vtepMAC":"02:00:00:00:00:99"}}`}, refused: "cannot patch"},
		"a lease's status":          {args: []string{"patch", "subnetlease", leaseOf(t, "n2"), "--subresource=status", "--type=merge", "-p", `{"status":{"publicIP":"172.30.0.11"}}`}, refused: "cannot patch"},
		"delete a lease":            {args: []string{"delete", "subnetlease", leaseOf(t, "n2"), "--wait=false"}, refused: "cannot delete"},
		"delete a nodenetwork":      {args: []string{"delete", "nodenetwork", "n2", "--wait=false"}, refused: "cannot delete"},
		"change the network":        {args: []string{"patch", "networkconfig", "default", "--type=merge", "-p", `{"spec":{"mtu":1000}}`}, refused: "cannot"},
		"read nodes":                {args: []string{"get", "nodes"}, refused: "cannot list"},
		"read secrets":              {args: []string{"get", "secrets", "-A"}, refused: "cannot list"},
		"read pods":                 {args: []string{"get", "pods", "-A"}, refused: "cannot list"},
		"impersonate":               {args: []string{"get", "subnetleases", "--as=system:admin"}, refused: "cannot impersonate"},
		"make a token for somebody": {args: []string{"create", "token", "-n", "hopsack-system", "hopsack-controller"}, refused: "cannot create"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := cluster.Kubectl(t.Context(), append([]string{"--kubeconfig", kubeconfig}, tc.args...)...)
			switch {
			case tc.refused == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tc.refused != "" && err == nil:
				t.Error("allowed")
			case tc.refused != "" && !strings.Contains(err.Error(), tc.refused):
				t.Errorf("refused with %v, want %q in it", err, tc.refused)
			case tc.refused != "":
				t.Logf("%v", err)
			}
		})
	}
}

// leaseOf is the name of a node's lease.
func leaseOf(t *testing.T, node string) string {
	t.Helper()
	return strings.ReplaceAll(nodeNetwork(t, node).Spec.Subnets[0].Subnet, "/", "-")
}
