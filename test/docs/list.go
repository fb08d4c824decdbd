package docs

// Exception is a command that no test machine can run.
type Exception struct {
	Command string // its Key
	Reason  string
}

// NotRun are all such commands.
var NotRun = []Exception{
	{"make demo", "takes a lab of its own: CI and developers run it by itself"},
	{"make test", "runs this test"},
	{"make lab", "has been made before this test can start, from the programs it uses"},
	{"make image", "made before this test, for this machine's platform; hack/image's own test and make image-twice run it"},
	{"make manifests", "made before this test; test/manifests renders the same and compares"},
	{"skopeo copy --all oci-archive:dist/hopsack-agent.tar docker://registry.example.org/hopsack-agent:v0.1.0-dev", "needs a registry"},
	{"kubeadm init --pod-network-cidr=10.244.0.0/16", "needs a machine with systemd; the lab starts the same components itself"},
	{"modprobe br_netfilter", "would change the machine that runs the tests: its kernel is all nodes'"},
	{"sudo systemctl enable --now hopsack-agent", "needs systemd; node-agent's tests speak its protocol, hack/image's look at the unit"},
	{"aws ec2 modify-instance-attribute --instance-id i-1234567890abcdef0 --no-source-dest-check", "needs an account with the cloud"},
	{"gcloud compute instances create n1 --zone=europe-west1-b --can-ip-forward", "needs an account with the cloud"},
	{"az network nic update --resource-group hopsack --name n1-nic --ip-forwarding true", "needs an account with the cloud"},
	{"openstack port set --allowed-address ip-address=10.244.0.0/16 n1-port", "needs an account with the cloud"},
	{"etcdctl get /coreos.com/network/config | kubectl hopsack convert", "needs an etcd with flannel's configuration; cli's tests feed convert what etcdctl prints"},
}

// Order is that of the pages that have commands, as one cluster sees them from its installation to its end.
var Order = []string{
	"docs/install.md", "docs/cli.md", "docs/changing-the-backend.md", "docs/direct-routing.md", "docs/security.md", "docs/troubleshooting.md",
	"docs/migrating-from-flannel.md", "docs/upgrade.md", "README.md", "docs/uninstall.md",
}

// Fails are commands of blocks without output that end with an error, because the page says what they would do.
var Fails = []string{"kubectl hopsack uninstall"}

// IsRun says whether a command is run.
func IsRun(c Command) bool {
	for _, e := range NotRun {
		if e.Command == c.Key() {
			return false
		}
	}
	return true
}
