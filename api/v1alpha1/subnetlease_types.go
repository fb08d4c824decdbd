package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SubnetLeaseSpec is the allocation itself, so that status can be lost.
type SubnetLeaseSpec struct {
	// subnet is the node subnet this lease hands out, for example "10.244.3.0/24", host bits zero. Immutable.
	// +required
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="isCIDR(self) && cidr(self).ip().family() == 4",message="subnet must be an IPv4 CIDR such as 10.244.3.0/24"
	// +kubebuilder:validation:XValidation:rule="!isCIDR(self) || cidr(self).ip().family() != 4 || cidr(self) == cidr(self).masked()",message="subnet must have zero host bits"
	// +kubebuilder:validation:XValidation:rule="!isCIDR(self) || cidr(self).ip().family() != 4 || cidr(self).prefixLength() >= 9 && cidr(self).prefixLength() <= 30",message="subnet must have a prefix length between 9 and 30"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="subnet is immutable: a lease is its subnet"
	Subnet string `json:"subnet,omitempty"`

	// nodeName is the node the subnet belongs to. Immutable.
	// +required
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="nodeName must be the name of a Node: lower case letters, digits, - and ."
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="nodeName is immutable: a lease never moves between nodes"
	NodeName string `json:"nodeName,omitempty"`
}

// BackendData is what a peer must know besides the address, by backend.
type BackendData struct {
	// vtepMAC is the Ethernet address of the node's VXLAN tunnel endpoint, the same for every VNI and port.
	// +optional
	// +kubebuilder:validation:MaxLength=17
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$')",message="backendData.vtepMAC must be a unicast Ethernet address in lower case, such as 02:00:00:00:00:01"
	VTEPMAC string `json:"vtepMAC,omitempty"`
}

// SubnetLeaseStatus is what a peer must know to reach the subnet. It can be lost without harm.
type SubnetLeaseStatus struct {
	// publicIP is the IPv4 underlay address of the node.
	// +optional
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:XValidation:rule="isIP(self) && ip(self).family() == 4",message="publicIP must be an IPv4 address such as 192.0.2.1"
	PublicIP string `json:"publicIP,omitempty"`

	// publicIPv6 is the IPv6 underlay address of the node.
	// +optional
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:XValidation:rule="isIP(self) && ip(self).family() == 6 && ip.isCanonical(self)",message="publicIPv6 must be an IPv6 address in canonical form, such as 2001:db8::1"
	PublicIPv6 string `json:"publicIPv6,omitempty"`

	// backendType is the backend the node sends with.
	// +optional
	BackendType BackendType `json:"backendType,omitempty"`

	// backendData is what a peer must know besides the address.
	// +optional
	BackendData BackendData `json:"backendData,omitzero"`

	// releasedAt is when the node was seen gone; absent while it is there.
	// +optional
	ReleasedAt *metav1.Time `json:"releasedAt,omitempty"`

	// conditions holds Ready; its reason tells the lease's state.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// SubnetLease says which node has which subnet, and how peers reach it. Its name is the subnet with "-" in place of "/"
// (and of ":"), so that two leases of one subnet cannot exist. Users may create one to reserve a subnet for a node; it lies
// inside the NetworkConfig's network and overlaps no other lease.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=sl,categories=hopsack
// +kubebuilder:validation:XValidation:fieldPath=".metadata",rule="self.metadata.name == self.spec.subnet.replace('/', '-').replace(':', '-')",message="metadata.name must be spec.subnet with - in place of /, such as 10.244.3.0-24 for 10.244.3.0/24"
// +kubebuilder:printcolumn:name="NODE",type=string,JSONPath=`.spec.nodeName`
// +kubebuilder:printcolumn:name="SUBNET",type=string,JSONPath=`.spec.subnet`
// +kubebuilder:printcolumn:name="PUBLIC-IP",type=string,JSONPath=`.status.publicIP`
// +kubebuilder:printcolumn:name="BACKEND",type=string,JSONPath=`.status.backendType`
// +kubebuilder:printcolumn:name="VTEP-MAC",type=string,JSONPath=`.status.backendData.vtepMAC`
// +kubebuilder:printcolumn:name="STATE",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="MESSAGE",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:selectablefield:JSONPath=`.spec.nodeName`
type SubnetLease struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the allocation.
	// +required
	Spec SubnetLeaseSpec `json:"spec,omitzero"`
	// status is what a peer must know to reach the subnet.
	// +optional
	Status SubnetLeaseStatus `json:"status,omitzero"`
}

// SubnetLeaseList is a list of SubnetLeases.
// +kubebuilder:object:root=true
type SubnetLeaseList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []SubnetLease `json:"items"`
}
