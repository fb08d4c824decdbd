package install

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	ours  = "/apis/net.hopsack.dev/v1alpha1"
	core  = "/api/v1"
	rbac  = "/apis/rbac.authorization.k8s.io/v1"
	gate  = "/apis/admissionregistration.k8s.io/v1"
	leads = "/apis/coordination.k8s.io/v1/namespaces/"
	crds  = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
)

// own are what an agent may do; the last one tries to write more than a report with it.
func own(lease string) []attempt {
	return []attempt{
		{"read leases", "GET", ours + "/subnetleases", "", nil, ""},
		{"read a lease", "GET", ours + "/subnetleases/" + lease, "", nil, ""},
		{"read NodeNetworks", "GET", ours + "/nodenetworks", "", nil, ""},
		{"report the own status", "PATCH", ours + "/nodenetworks/n1/status", `{"status":{"interface":"eth0"}}`, nil, ""},
		{"own status, with spec, labels and finalizers", "PATCH", ours + "/nodenetworks/n1/status",
			`{"metadata":{"labels":{"stolen":"yes"},"finalizers":["example.org/held"]},"spec":{"vtepMAC":"02:00:00:00:00:99"}}`, nil, ""},
	}
}

// onNetworks are attempts at what hopsack's objects say of the network; lease is one of node n2.
func onNetworks(lease string) []attempt {
	const (
		lie     = `{"status":{"publicIPs":["172.30.0.11"]}}`
		applied = `{"apiVersion":"net.hopsack.dev/v1alpha1","kind":"NodeNetwork","metadata":{"name":"n2"},"status":{"interface":"eth7"}}`
		whole   = `{"apiVersion":"net.hopsack.dev/v1alpha1","kind":"NodeNetwork","metadata":{"name":"n2","resourceVersion":"1"}}`
		fresh   = `{"apiVersion":"net.hopsack.dev/v1alpha1","kind":"NodeNetwork","metadata":{"name":"n9"},"spec":{}}`
		taken   = `{"apiVersion":"net.hopsack.dev/v1alpha1","kind":"SubnetLease","metadata":{"name":"10.244.99.0-24"},"spec":{"subnet":"10.244.99.0/24","nodeName":"n1"}}`
		config  = `{"apiVersion":"net.hopsack.dev/v1alpha1","kind":"NetworkConfig","metadata":{"name":"default"},"spec":{"network":"10.9.0.0/16","backend":{"type":"vxlan"}}}`
	)
	nn, leases, cfg := ours+"/nodenetworks", ours+"/subnetleases", ours+"/networkconfigs"
	return []attempt{
		{"n2's NodeNetwork: patch status", "PATCH", nn + "/n2/status", lie, nil, "node n1 may write only its own NodeNetwork, not n2"},
		{"n2's NodeNetwork: apply status by force", "PATCH", nn + "/n2/status?fieldManager=hopsack-controller&force=true", applied, nil, "node n1 may write only its own NodeNetwork, not n2"},
		{"n2's NodeNetwork: update status", "PUT", nn + "/n2/status", whole, nil, `cannot update resource "nodenetworks/status"`},
		{"n2's NodeNetwork: patch spec", "PATCH", nn + "/n2", `{"spec":{"vtepMAC":"02:00:00:00:00:99"}}`, nil, `cannot patch resource "nodenetworks"`},
		{"n2's NodeNetwork: update", "PUT", nn + "/n2", whole, nil, `cannot update resource "nodenetworks"`},
		{"n2's NodeNetwork: delete", "DELETE", nn + "/n2", "", nil, `cannot delete resource "nodenetworks"`},
		{"all NodeNetworks: delete", "DELETE", nn, "", nil, `cannot deletecollection resource "nodenetworks"`},
		{"a NodeNetwork for n9: create", "POST", nn, fresh, nil, `cannot create resource "nodenetworks"`},
		{"a NodeNetwork for n9: create by apply", "PATCH", nn + "/n9?fieldManager=x", strings.ReplaceAll(fresh, `,"spec":{}`, ""), nil, `cannot patch resource "nodenetworks"`},
		{"own NodeNetwork: patch spec", "PATCH", nn + "/n1", `{"spec":{"vtepMAC":"02:00:00:00:00:99"}}`, nil, `cannot patch resource "nodenetworks"`},
		{"own NodeNetwork: finalizers", "PATCH", nn + "/n1", `{"metadata":{"finalizers":["example.org/held"]}}`, nil, `cannot patch resource "nodenetworks"`},
		{"own NodeNetwork: labels", "PATCH", nn + "/n1", `{"metadata":{"labels":{"a":"b"}}}`, nil, `cannot patch resource "nodenetworks"`},
		{"own NodeNetwork: the leader's fence", "PATCH", nn + "/n1", `{"metadata":{"annotations":{"net.hopsack.dev/leader":"me"}}}`, nil, `cannot patch resource "nodenetworks"`},
		{"own NodeNetwork: delete", "DELETE", nn + "/n1", "", nil, `cannot delete resource "nodenetworks"`},
		{"a lease: create", "POST", leases, taken, nil, `cannot create resource "subnetleases"`},
		{"n2's lease: patch", "PATCH", leases + "/" + lease, `{"metadata":{"finalizers":[]}}`, nil, `cannot patch resource "subnetleases"`},
		{"n2's lease: patch status", "PATCH", leases + "/" + lease + "/status", `{"status":{"publicIP":"172.30.0.11"}}`, nil, `cannot patch resource "subnetleases/status"`},
		{"n2's lease: update", "PUT", leases + "/" + lease, taken, nil, `cannot update resource "subnetleases"`},
		{"n2's lease: delete", "DELETE", leases + "/" + lease, "", nil, `cannot delete resource "subnetleases"`},
		{"all leases: delete", "DELETE", leases, "", nil, `cannot deletecollection resource "subnetleases"`},
		{"NetworkConfig: read", "GET", cfg + "/default", "", nil, `cannot get resource "networkconfigs"`},
		{"NetworkConfig: patch", "PATCH", cfg + "/default", `{"spec":{"mtu":1000}}`, nil, `cannot patch resource "networkconfigs"`},
		{"NetworkConfig: confirm the teardown", "PATCH", cfg + "/default", `{"metadata":{"annotations":{"net.hopsack.dev/teardown":"confirmed"}}}`, nil, `cannot patch resource "networkconfigs"`},
		{"NetworkConfig: patch status", "PATCH", cfg + "/default/status", `{"status":{"observedGeneration":9}}`, nil, `cannot patch resource "networkconfigs/status"`},
		{"NetworkConfig: create", "POST", cfg, config, nil, `cannot create resource "networkconfigs"`},
		{"NetworkConfig: delete", "DELETE", cfg + "/default", "", nil, `cannot delete resource "networkconfigs"`},
	}
}

// onCluster are attempts at everything else that would do.
func onCluster(s site) []attempt {
	const (
		meta = `{"metadata":{"annotations":{"a":"b"}}}`
		root = `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"mine"},` +
			`"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"},"subjects":[{"kind":"Group","apiGroup":"rbac.authorization.k8s.io","name":"system:serviceaccounts"}]}`
		pod     = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"mine"},"spec":{"containers":[{"name":"c","image":"busybox"}]}}`
		token   = `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{}}`
		forN2   = `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"boundObjectRef":{"apiVersion":"v1","kind":"Node","name":"n2"}}}`
		address = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"hopsack-apiserver"},"data":{"KUBERNETES_SERVICE_HOST":"172.30.0.66"}}`
		holder  = `{"spec":{"holderIdentity":"me"}}`
		lease   = `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"mine"},"spec":{"holderIdentity":"me"}}`
	)
	space := core + "/namespaces/" + s.namespace
	return []attempt{
		{"Node n1: read", "GET", core + "/nodes/n1", "", nil, `cannot get resource "nodes"`},
		{"Node n1: patch", "PATCH", core + "/nodes/n1", `{"metadata":{"annotations":{"net.hopsack.dev/public-ip":"172.30.0.66"}}}`, nil, `cannot patch resource "nodes"`},
		{"Node n1: patch status", "PATCH", core + "/nodes/n1/status", `{"status":{"addresses":[]}}`, nil, `cannot patch resource "nodes/status"`},
		{"Node n2: patch", "PATCH", core + "/nodes/n2", `{"spec":{"unschedulable":true}}`, nil, `cannot patch resource "nodes"`},
		{"Node n2: patch status", "PATCH", core + "/nodes/n2/status", `{"status":{"addresses":[]}}`, nil, `cannot patch resource "nodes/status"`},
		{"Node n2: delete", "DELETE", core + "/nodes/n2", "", nil, `cannot delete resource "nodes"`},
		{"Node n2: ask its kubelet", "GET", core + "/nodes/n2/proxy/pods", "", nil, `cannot get resource "nodes/proxy"`},
		{"Secrets of all namespaces: list", "GET", core + "/secrets", "", nil, `cannot list resource "secrets"`},
		{"Secrets of the own namespace: list", "GET", space + "/secrets", "", nil, `cannot list resource "secrets"`},
		{"a Secret: get", "GET", core + "/namespaces/kube-system/secrets/any", "", nil, `cannot get resource "secrets"`},
		{"ConfigMaps: list", "GET", core + "/configmaps", "", nil, `cannot list resource "configmaps"`},
		{"ConfigMap with the API server's address: create", "POST", space + "/configmaps", address, nil, `cannot create resource "configmaps"`},
		{"Pods: list", "GET", core + "/pods", "", nil, `cannot list resource "pods"`},
		{"Pods: create", "POST", space + "/pods", pod, nil, `cannot create resource "pods"`},
		{"Pods: exec", "POST", core + "/namespaces/default/pods/p2/exec?command=sh&stdout=true", "", nil, `cannot create resource "pods/exec"`},
		{"Pods: evict", "POST", core + "/namespaces/default/pods/p2/eviction", `{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"p2"}}`, nil, `cannot create resource "pods/eviction"`},
		{"the own DaemonSet: patch", "PATCH", "/apis/apps/v1/namespaces/" + s.namespace + "/daemonsets/" + s.name("hopsack-agent"), meta, nil, `cannot patch resource "daemonsets"`},
		{"token of the controller: create", "POST", space + "/serviceaccounts/" + s.name("hopsack-controller") + "/token", token, nil, `cannot create resource "serviceaccounts/token"`},
		{"own token bound to node n2: create", "POST", space + "/serviceaccounts/" + s.name("hopsack-agent") + "/token", forN2, nil, `cannot create resource "serviceaccounts/token"`},
		{"certificate of a node: ask", "POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests", `{"apiVersion":"certificates.k8s.io/v1","kind":"CertificateSigningRequest","metadata":{"name":"mine"},"spec":{}}`, nil, `cannot create resource "certificatesigningrequests"`},
		{"ClusterRoleBinding to cluster-admin: create", "POST", rbac + "/clusterrolebindings", root, nil, `cannot create resource "clusterrolebindings"`},
		{"own ClusterRole: patch", "PATCH", rbac + "/clusterroles/" + s.name("hopsack-agent"), `{"rules":[]}`, nil, `cannot patch resource "clusterroles"`},
		{"own ClusterRoleBinding: patch", "PATCH", rbac + "/clusterrolebindings/" + s.name("hopsack-agent"), meta, nil, `cannot patch resource "clusterrolebindings"`},
		{"admission policy: delete", "DELETE", gate + "/validatingadmissionpolicies/" + s.name("hopsack-nodenetworks"), "", nil, `cannot delete resource "validatingadmissionpolicies"`},
		{"admission policy's binding: patch", "PATCH", gate + "/validatingadmissionpolicybindings/" + s.name("hopsack-nodenetworks"), meta, nil, `cannot patch resource "validatingadmissionpolicybindings"`},
		{"admission policy's binding: delete", "DELETE", gate + "/validatingadmissionpolicybindings/" + s.name("hopsack-nodenetworks"), "", nil, `cannot delete resource "validatingadmissionpolicybindings"`},
		{"CRD: patch", "PATCH", crds + "/nodenetworks.net.hopsack.dev", meta, nil, `cannot patch resource "customresourcedefinitions"`},
		{"CRD: delete", "DELETE", crds + "/nodenetworks.net.hopsack.dev", "", nil, `cannot delete resource "customresourcedefinitions"`},
		{"FlowSchema: delete", "DELETE", "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/" + s.name("hopsack"), "", nil, `cannot delete resource "flowschemas"`},
		{"leadership: read the election's Lease", "GET", leads + s.namespace + "/leases/hopsack-controller", "", nil, `cannot get resource "leases"`},
		{"leadership: take the election's Lease", "PATCH", leads + s.namespace + "/leases/hopsack-controller", holder, nil, `cannot patch resource "leases"`},
		{"leadership: delete the election's Lease", "DELETE", leads + s.namespace + "/leases/hopsack-controller", "", nil, `cannot delete resource "leases"`},
		{"leadership: create a Lease", "POST", leads + s.namespace + "/leases", lease, nil, `cannot create resource "leases"`},
		{"node n2's heartbeat", "PATCH", leads + "kube-node-lease/leases/n2", holder, nil, `cannot patch resource "leases"`},
		{"Events: create", "POST", core + "/namespaces/default/events", `{"apiVersion":"v1","kind":"Event","metadata":{"name":"mine"},"involvedObject":{}}`, nil, `cannot create resource "events"`},
		{"the own namespace: delete", "DELETE", space, "", nil, `cannot delete resource "namespaces"`},
	}
}

// asOthers are attempts to be somebody else; each asks for what its somebody may do.
func asOthers(s site) []attempt {
	account := "system:serviceaccount:" + s.namespace + ":" + s.name("hopsack-")
	path, lie := ours+"/nodenetworks/n2/status", `{"status":{"publicIPs":["172.30.0.11"]}}`
	return []attempt{
		{"as a user", "GET", core + "/secrets", "", []string{"Impersonate-User=system:admin"}, `cannot impersonate`},
		{"as a group", "GET", core + "/secrets", "", []string{"Impersonate-User=" + account + "agent", "Impersonate-Group=system:masters"}, `cannot impersonate`},
		{"as the controller", "PATCH", path, lie, []string{"Impersonate-User=" + account + "controller"}, `cannot impersonate`},
		{"as node n2", "GET", core + "/secrets", "", []string{"Impersonate-User=system:node:n2", "Impersonate-Group=system:nodes"}, `cannot impersonate`},
		{"as itself, with node n2 in the token's claim", "PATCH", path, lie,
			[]string{"Impersonate-User=" + account + "agent", "Impersonate-Extra-" + url.PathEscape("authentication.kubernetes.io/node-name") + "=n2"}, `cannot impersonate`},
		{"as a UID", "GET", core + "/secrets", "", []string{"Impersonate-User=" + account + "agent", "Impersonate-Uid=1"}, `cannot impersonate`},
	}
}

// confined shows what the token of the real agent on node n1 is good for, and that nothing else changed anything.
func (w *world) confined(t *testing.T, s site) {
	t.Helper()
	lease := w.kubectl(t, "get", "subnetleases", "--field-selector=spec.nodeName=n2", "-o", "jsonpath={.items[0].metadata.name}")
	before := w.said(t)
	w.soon(t, "the controller to find the policy that confines agents", func() (bool, error) {
		out, err := w.Kubectl(t.Context(), "get", "networkconfig", "default", "-o", `jsonpath={.status.conditions[?(@.type=="AgentsConfined")].status}`)
		return out == "True", err
	})
	n1 := w.steal(t, s, "n1")
	table := "node n1's token, which may:\n" + n1.try(t, own(lease)) + "and may not:\n"
	for _, all := range [][]attempt{onNetworks(lease), onCluster(s), asOthers(s)} {
		table += n1.try(t, all)
	}
	// It is the token that says which node it is, wherever it is used.
	elsewhere := w.steal(t, s, "n2")
	elsewhere.token = n1.token
	table += elsewhere.try(t, []attempt{{"used on node n2: n2's NodeNetwork", "PATCH", ours + "/nodenetworks/n2/status", `{"status":{"interface":"eth0"}}`,
		nil, "node n1 may write only its own NodeNetwork, not n2"}})
	if diff := cmp.Diff(before, w.said(t)); diff != "" {
		t.Errorf("after all that the objects say something else (-before +after):\n%s", diff)
	}
	t.Logf("in namespace %s, prefix %q: %s", s.namespace, s.prefix, table)
}

// said is what the objects say that the agent on node n1 may not write.
func (w *world) said(t *testing.T) string {
	t.Helper()
	const all = `{range .items[*]}{.kind} {.metadata.name} {.metadata.uid} {.metadata.labels} {.metadata.finalizers} {.spec}{"\n"}{end}`
	out := w.kubectl(t, "get", "networkconfigs,nodenetworks,subnetleases", "-o", "jsonpath="+all)
	out += w.kubectl(t, "get", "nodenetwork", "n2", "-o", "jsonpath={.status.publicIPs} {.status.interface}")
	return out + w.kubectl(t, "get", "subnetleases", "-o", `jsonpath={range .items[*]}{.status.publicIP} {.status.backendData}{"\n"}{end}`)
}
