package e2e

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/test/lab"
)

// A node speaks only for itself: what its agent's credentials may do, on the real API server with what we ship.
func TestAgentCredentials(t *testing.T) {
	kubeconfig := cluster.Credentials(lab.Agent("n1"))
	for name, tc := range map[string]struct {
		args    []string
		refused string // empty: allowed
	}{
		"read leases":          {args: []string{"get", "subnetleases"}},
		"own spec":             {args: []string{"patch", "nodenetwork", "n1", "--type=merge", "-p", `{"spec":{"vtepMAC":"02:00:00:00:00:99"}}`}, refused: "cannot patch"},
		"delete a lease":       {args: []string{"delete", "subnetlease", leaseOf(t, "n2"), "--wait=false"}, refused: "cannot delete"},
		"delete a nodenetwork": {args: []string{"delete", "nodenetwork", "n2", "--wait=false"}, refused: "cannot delete"},
		"change the network":   {args: []string{"patch", "networkconfig", "default", "--type=merge", "-p", `{"spec":{"mtu":1000}}`}, refused: "cannot"},
		"read nodes":           {args: []string{"get", "nodes"}, refused: "cannot list"},
		"read secrets":         {args: []string{"get", "secrets", "-A"}, refused: "cannot list"},
		"read pods":            {args: []string{"get", "pods", "-A"}, refused: "cannot list"},
		// Raw: kubectl would first ask for the kinds there are, as that user as well, and drop the reason of the refusal.
		"impersonate":               {args: []string{"get", "--raw=/apis/net.hopsack.dev/v1alpha1/subnetleases", "--as=system:admin"}, refused: "cannot impersonate"},
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

// What an agent writes, it writes without reading first, as kubectl would: here the admission policy stands alone.
func TestAgentWritesItsOwnStatusOnly(t *testing.T) {
	config, err := clientcmd.BuildConfigFromFlags("", cluster.Credentials(lab.Agent("n1")))
	if err != nil {
		t.Fatal(err)
	}
	inside, err := cluster.RESTConfig()
	if err != nil {
		t.Fatal(err)
	}
	config.Dial = inside.Dial
	agent, err := client.New(config, client.Options{Scheme: api(t).Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		object  client.Object
		patch   string
		refused string // empty: allowed
	}{
		"own status":       {&v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, `{"status":{"interface":"eth0"}}`, ""},
		"another's status": {&v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: "n2"}}, `{"status":{"publicIPs":["172.30.0.11"]}}`, "ValidatingAdmissionPolicy"},
		"a lease's status": {&v1alpha1.SubnetLease{ObjectMeta: metav1.ObjectMeta{Name: leaseOf(t, "n2")}}, `{"status":{"publicIP":"172.30.0.11"}}`, "cannot patch"},
	} {
		t.Run(name, func(t *testing.T) {
			err := agent.Status().Patch(t.Context(), tc.object, client.RawPatch(types.MergePatchType, []byte(tc.patch)))
			if tc.refused == "" && err != nil {
				t.Errorf("refused: %v", err)
			}
			if tc.refused != "" && (err == nil || !strings.Contains(err.Error(), tc.refused)) {
				t.Errorf("error = %v, want one with %q", err, tc.refused)
			}
			t.Log(err)
		})
	}
}

// leaseOf is the name of a node's lease.
func leaseOf(t *testing.T, node string) string {
	t.Helper()
	return strings.ReplaceAll(nodeNetwork(t, node).Spec.Subnets[0].Subnet, "/", "-")
}
