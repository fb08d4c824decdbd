package v1alpha1

// Names that more than one program must agree on.
const (
	// NetworkConfigName is the only name a NetworkConfig may have: a cluster has one pod network.
	NetworkConfigName = "default"

	// LeaseFinalizer holds a SubnetLease that a node still uses. The controller sets it when it takes the lease up and
	// takes it off when the node is gone or the network is torn down.
	LeaseFinalizer = "net.hopsack.dev/in-use"

	// ConfigFinalizer holds the NetworkConfig while leases are bound: deleting it would leave every node without a network.
	ConfigFinalizer = "net.hopsack.dev/network-in-use"

	// TeardownAnnotation on a NetworkConfig, with the value TeardownConfirmed, lets its deletion proceed although nodes use
	// the network: agents remove what they made and leases are released.
	TeardownAnnotation = "net.hopsack.dev/teardown"
	// TeardownConfirmed is the only value of TeardownAnnotation that means anything.
	TeardownConfirmed = "confirmed"

	// PublicIPAnnotation on a Node replaces the address its peers send to, for a node behind NAT. One address per family,
	// separated by commas.
	PublicIPAnnotation = "net.hopsack.dev/public-ip"

	// AdoptedAnnotation on a SubnetLease, with the value "true", says that the subnet came from Node.spec.podCIDRs.
	AdoptedAnnotation = "net.hopsack.dev/adopted"

	// ReservedAnnotation on a SubnetLease, with the value "true", says that a user made it. The controller sets it when it takes
	// the reservation up, and never deletes such a lease.
	ReservedAnnotation = "net.hopsack.dev/reserved"

	// PausedAnnotation on a NetworkConfig, with the value "true", holds a rollout: no further node is moved.
	PausedAnnotation = "net.hopsack.dev/paused"
	// RetryAnnotation on a NetworkConfig, whenever its value changes, has a generation that failed tried again.
	RetryAnnotation = "net.hopsack.dev/retry"
	// CheckAnnotation on a NetworkConfig, whenever its value changes, has every node probe every other one. At most 64
	// characters.
	CheckAnnotation = "net.hopsack.dev/check"
	// LeaderAnnotation on a NodeNetwork is the identity of the controller that may write its spec: the fence against a
	// leader that lost its lease and does not know.
	LeaderAnnotation = "net.hopsack.dev/leader"
	// AdmissionPolicyName names the ValidatingAdmissionPolicy, and its binding, that confine an agent to its own
	// NodeNetwork. The controller may read these two and no other policy.
	AdmissionPolicyName = "hopsack-nodenetworks"
)
