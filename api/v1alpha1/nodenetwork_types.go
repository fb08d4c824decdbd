package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SubnetState is how far an own subnet of a node is.
// +kubebuilder:validation:Enum=Intended;Bound;Draining
type SubnetState string

// Values of SubnetState.
const (
	// SubnetIntended records which subnet the controller is about to lease to the node (the lock per node). Agents ignore it.
	SubnetIntended SubnetState = "Intended"
	// SubnetBound: the lease exists and overlaps no other; the node uses it.
	SubnetBound SubnetState = "Bound"
	// SubnetDraining: still used by pods, hands out no new addresses.
	SubnetDraining SubnetState = "Draining"
)

// NodeSubnet is one subnet of the node.
type NodeSubnet struct {
	// subnet is the CIDR of the lease.
	// +required
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="isCIDR(self) && string(cidr(self).masked()) == self",message="subnet must be a CIDR in canonical form with zero host bits, such as 10.244.3.0/24"
	Subnet string `json:"subnet,omitempty"`
	// state is Intended, Bound or Draining.
	// +required
	State SubnetState `json:"state,omitempty"`
}

// Revision is one way of carrying packets between nodes, complete with its defaults.
type Revision struct {
	// id is a short hash of the content below.
	// +required
	// +kubebuilder:validation:MinLength=4
	// +kubebuilder:validation:MaxLength=32
	ID string `json:"id,omitempty"`
	// backend is the backend with every default filled in.
	// +required
	Backend Backend `json:"backend,omitzero"`
	// mtu is the configured MTU in bytes; 0 means the underlay's MTU minus the backend's overhead.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	MTU int32 `json:"mtu,omitempty"`
	// interface holds the interface rules for this node, overrides resolved.
	// +optional
	Interface InterfaceSelection `json:"interface,omitzero"`
}

// NodeNetworkSpec is all an agent needs besides the leases of its peers. The controller renders it.
type NodeNetworkSpec struct {
	// nodeUID is the UID of the Node this object is for; an agent's report counts only with the same one.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	NodeUID string `json:"nodeUID,omitempty"`

	// internalIPs are the Node's addresses of type InternalIP.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=45
	// +kubebuilder:validation:items:XValidation:rule="isIP(self) && ip.isCanonical(self)",message="internalIPs must hold IP addresses in canonical form"
	InternalIPs []string `json:"internalIPs,omitempty"`

	// publicIPs replace the address that peers send to, from the Node's annotation, at most one per family.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:items:MaxLength=45
	// +kubebuilder:validation:items:XValidation:rule="isIP(self) && ip.isCanonical(self)",message="publicIPs must hold IP addresses in canonical form"
	PublicIPs []string `json:"publicIPs,omitempty"`

	// subnets are the node's subnets; the first that is not Draining gives the node its address towards pods.
	// +optional
	// +listType=map
	// +listMapKey=subnet
	// +kubebuilder:validation:MaxItems=16
	Subnets []NodeSubnet `json:"subnets,omitempty"`

	// podNetworks are all ranges that hold pod addresses: exempt from masquerade, and unreachable where no lease is.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && string(cidr(self).masked()) == self",message="podNetworks must hold CIDRs in canonical form with zero host bits"
	PodNetworks []string `json:"podNetworks,omitempty"`

	// vtepMAC is the Ethernet address of this node's VXLAN devices.
	// +optional
	// +kubebuilder:validation:MaxLength=17
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$')",message="vtepMAC must be a unicast Ethernet address in lower case, such as 02:00:00:00:00:01"
	VTEPMAC string `json:"vtepMAC,omitempty"`

	// revisions are all the node must be able to receive.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=3
	Revisions []Revision `json:"revisions,omitempty"`

	// transmit is the id of the revision the node must send with.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Transmit string `json:"transmit,omitempty"`

	// check, when it changes, has the agent probe every peer over the path in force, and report in status.check.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Check string `json:"check,omitempty"`

	// retentionSeconds is how long the agent keeps a peer that vanished without being seen deleted, and how old its state
	// on disk may be to be used.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=31536000
	RetentionSeconds int32 `json:"retentionSeconds,omitempty"`

	// ipMasq is the masquerade setting with every default filled in.
	// +optional
	IPMasq IPMasq `json:"ipMasq,omitzero"`

	// cni is the CNI setting with every default filled in.
	// +optional
	CNI CNISettings `json:"cni,omitzero"`

	// teardown, when Confirmed, has the agent remove all it made and report CleanedUp.
	// +optional
	// +kubebuilder:validation:Enum=Confirmed
	Teardown string `json:"teardown,omitempty"`
}

// TeardownRequested is the only value of NodeNetworkSpec.Teardown.
const TeardownRequested = "Confirmed"

// NodeNetworkStatus is the agent's report. The controller owns one condition, SubnetsAssigned.
type NodeNetworkStatus struct {
	// observedGeneration is the generation of the spec this report is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// nodeUID is the UID of the Node the agent reports for, from spec.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	NodeUID string `json:"nodeUID,omitempty"`

	// bootID changes with every boot of the node (/proc/sys/kernel/random/boot_id).
	// +optional
	// +kubebuilder:validation:MaxLength=64
	BootID string `json:"bootID,omitempty"`

	// interface is the underlay interface the agent chose.
	// +optional
	// +kubebuilder:validation:MaxLength=15
	Interface string `json:"interface,omitempty"`

	// publicIPs are the addresses peers shall send to, at most one per family.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:items:MaxLength=45
	// +kubebuilder:validation:items:XValidation:rule="isIP(self) && ip.isCanonical(self)",message="publicIPs must hold IP addresses in canonical form"
	PublicIPs []string `json:"publicIPs,omitempty"`

	// mtu is the largest packet, in bytes, that pods of this node send to other nodes.
	// +optional
	MTU int32 `json:"mtu,omitempty"`

	// preparedRevisions are the revisions this node can receive.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=3
	// +kubebuilder:validation:items:MaxLength=32
	PreparedRevisions []string `json:"preparedRevisions,omitempty"`

	// transmitRevision is the revision the node sends with and has proven after it began to.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	TransmitRevision string `json:"transmitRevision,omitempty"`

	// failedRevision is the revision that the node was asked to send with, tried, and left again by itself.
	// +optional
	FailedRevision *FailedRevision `json:"failedRevision,omitempty"`

	// verifications say, by revision that the node receives, which peers were proven to be reachable with it.
	// +optional
	// +listType=map
	// +listMapKey=revision
	// +kubebuilder:validation:MaxItems=3
	Verifications []Verification `json:"verifications,omitempty"`

	// paths counts peers by how packets go to them. It is brought up to date with other changes, or within a minute.
	// +optional
	Paths *PathCounts `json:"paths,omitempty"`

	// check is the result of the last check asked for.
	// +optional
	Check *CheckResult `json:"check,omitempty"`

	// conditions are Ready, InterfaceSelected, Programmed, HostConfigured, CNIConfigured and LeasesDoubtful (agent), and
	// SubnetsAssigned (controller).
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// NodeNetwork is the conversation between the controller and one node's agent. It has the Node's name. Nothing in it is for
// users to write.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=nn,categories=hopsack
// +kubebuilder:printcolumn:name="SUBNETS",type=string,JSONPath=`.spec.subnets[*].subnet`
// +kubebuilder:printcolumn:name="INTERFACE",type=string,JSONPath=`.status.interface`
// +kubebuilder:printcolumn:name="PUBLIC-IP",type=string,JSONPath=`.status.publicIPs[0]`
// +kubebuilder:printcolumn:name="MTU",type=integer,JSONPath=`.status.mtu`
// +kubebuilder:printcolumn:name="TRANSMIT",type=string,JSONPath=`.status.transmitRevision`
// +kubebuilder:printcolumn:name="READY",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="REASON",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="MESSAGE",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:selectablefield:JSONPath=`.spec.transmit`
type NodeNetwork struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is all the agent needs besides the leases of its peers.
	// +optional
	Spec NodeNetworkSpec `json:"spec,omitzero"`
	// status is the agent's report.
	// +optional
	Status NodeNetworkStatus `json:"status,omitzero"`
}

// NodeNetworkList is a list of NodeNetworks.
// +kubebuilder:object:root=true
type NodeNetworkList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []NodeNetwork `json:"items"`
}
