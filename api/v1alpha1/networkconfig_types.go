package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// PodCIDRPolicy says what to do with Node.spec.podCIDRs.
// +kubebuilder:validation:Enum=Auto;Ignore
type PodCIDRPolicy string

// Values of PodCIDRPolicy.
const (
	// PodCIDRsAuto adopts a podCIDR inside the network, and gives a new Node 10 s to get one.
	PodCIDRsAuto PodCIDRPolicy = "Auto"
	// PodCIDRsIgnore never looks at them.
	PodCIDRsIgnore PodCIDRPolicy = "Ignore"
)

// NetworkConfigSpec is the pod network as its user wants it. Optional fields that are absent take the defaults named here;
// what is in effect is shown in status.effective.
// +kubebuilder:validation:XValidation:fieldPath=".subnetLen",rule="!has(self.subnetLen) || !isCIDR(self.network) || cidr(self.network).ip().family() != 4 || self.subnetLen > cidr(self.network).prefixLength()",message="subnetLen must be greater than the prefix length of network"
// +kubebuilder:validation:XValidation:fieldPath=".network",rule="has(self.subnetLen) || !isCIDR(self.network) || cidr(self.network).ip().family() != 4 || cidr(self.network).prefixLength() != 27",message="network is too small for the default subnetLen (its prefix length plus 2, at most 28): set subnetLen"
// +kubebuilder:validation:XValidation:fieldPath=".subnetMin",rule="!has(self.subnetMin) || !isCIDR(self.network) || cidr(self.network).ip().family() != 4 || !isIP(self.subnetMin) || ip(self.subnetMin).family() != 4 || cidr(self.network).containsIP(self.subnetMin)",message="subnetMin must lie inside network"
// +kubebuilder:validation:XValidation:fieldPath=".subnetMin",rule="!has(self.subnetMin) || !isCIDR(self.network) || cidr(self.network).ip().family() != 4 || !isIP(self.subnetMin) || ip(self.subnetMin).family() != 4 || (has(self.subnetLen) ? self.subnetLen : cidr(self.network).prefixLength() > 22 ? cidr(self.network).prefixLength() + 2 : 24) < 9 || (has(self.subnetLen) ? self.subnetLen : cidr(self.network).prefixLength() > 22 ? cidr(self.network).prefixLength() + 2 : 24) > 28 || (int(self.subnetMin.split('.')[0]) * 16777216 + int(self.subnetMin.split('.')[1]) * 65536 + int(self.subnetMin.split('.')[2]) * 256 + int(self.subnetMin.split('.')[3])) % [8388608, 4194304, 2097152, 1048576, 524288, 262144, 131072, 65536, 32768, 16384, 8192, 4096, 2048, 1024, 512, 256, 128, 64, 32, 16][(has(self.subnetLen) ? self.subnetLen : cidr(self.network).prefixLength() > 22 ? cidr(self.network).prefixLength() + 2 : 24) - 9] == 0",message="subnetMin must be the first address of a subnet: only zero bits may follow the first subnetLen (by default 24) bits"
// +kubebuilder:validation:XValidation:fieldPath=".subnetMax",rule="!has(self.subnetMax) || !isCIDR(self.network) || cidr(self.network).ip().family() != 4 || !isIP(self.subnetMax) || ip(self.subnetMax).family() != 4 || cidr(self.network).containsIP(self.subnetMax)",message="subnetMax must lie inside network"
// +kubebuilder:validation:XValidation:fieldPath=".subnetMax",rule="!has(self.subnetMax) || !isCIDR(self.network) || cidr(self.network).ip().family() != 4 || !isIP(self.subnetMax) || ip(self.subnetMax).family() != 4 || (has(self.subnetLen) ? self.subnetLen : cidr(self.network).prefixLength() > 22 ? cidr(self.network).prefixLength() + 2 : 24) < 9 || (has(self.subnetLen) ? self.subnetLen : cidr(self.network).prefixLength() > 22 ? cidr(self.network).prefixLength() + 2 : 24) > 28 || (int(self.subnetMax.split('.')[0]) * 16777216 + int(self.subnetMax.split('.')[1]) * 65536 + int(self.subnetMax.split('.')[2]) * 256 + int(self.subnetMax.split('.')[3])) % [8388608, 4194304, 2097152, 1048576, 524288, 262144, 131072, 65536, 32768, 16384, 8192, 4096, 2048, 1024, 512, 256, 128, 64, 32, 16][(has(self.subnetLen) ? self.subnetLen : cidr(self.network).prefixLength() > 22 ? cidr(self.network).prefixLength() + 2 : 24) - 9] == 0",message="subnetMax must be the first address of a subnet: only zero bits may follow the first subnetLen (by default 24) bits"
type NetworkConfigSpec struct {
	// network is the IPv4 range all pod addresses come from, for example "10.244.0.0/16", host bits zero, prefix length 8 to
	// 27. It cannot change while leases are in use.
	// +required
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="isCIDR(self) && cidr(self).ip().family() == 4",message="network must be an IPv4 CIDR such as 10.244.0.0/16"
	// +kubebuilder:validation:XValidation:rule="!isCIDR(self) || cidr(self).ip().family() != 4 || cidr(self) == cidr(self).masked()",message="network must have zero host bits"
	// +kubebuilder:validation:XValidation:rule="!isCIDR(self) || cidr(self).ip().family() != 4 || cidr(self).prefixLength() >= 8 && cidr(self).prefixLength() <= 27",message="network must have a prefix length between 8 and 27"
	// +kubebuilder:validation:XValidation:rule="!isCIDR(self) || cidr(self).ip().family() != 4 || cidr(self).ip().isGlobalUnicast()",message="network must hold unicast addresses: not 0.0.0.0, loopback, link-local or multicast ones"
	Network string `json:"network,omitempty"`

	// subnetLen is the prefix length of a node's subnet, 9 to 28. Default 24, or two more than the prefix length of network
	// where that is longer than 22. It cannot change while leases are in use.
	// +optional
	// +kubebuilder:validation:Minimum=9
	// +kubebuilder:validation:Maximum=28
	SubnetLen *int32 `json:"subnetLen,omitempty"`

	// subnetMin is the first address of the first subnet that may be handed out, for example "10.244.10.0". Default: the
	// second subnet of network.
	// +optional
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:XValidation:rule="isIP(self) && ip(self).family() == 4",message="subnetMin must be an IPv4 address such as 10.244.10.0"
	SubnetMin string `json:"subnetMin,omitempty"`

	// subnetMax is the first address of the last subnet that may be handed out, for example "10.244.100.0". Default: the
	// last subnet of network.
	// +optional
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:XValidation:rule="isIP(self) && ip(self).family() == 4",message="subnetMax must be an IPv4 address such as 10.244.100.0"
	SubnetMax string `json:"subnetMax,omitempty"`

	// podCIDRs says what to do with Node.spec.podCIDRs: Auto (default) adopts one inside network and gives a new Node 10 s
	// to get one; Ignore never looks.
	// +optional
	PodCIDRs PodCIDRPolicy `json:"podCIDRs,omitempty"`

	// retentionSeconds is how long the subnet of a deleted node waits for that node to come back, 0 to 31536000. Default
	// 86400. It is taken earlier, with an event, when nothing else is free. For as long agents also keep peers that vanished
	// from the API without being seen deleted, and use what they saved when they boot while the API server is gone: with 0
	// they do neither.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=31536000
	RetentionSeconds *int32 `json:"retentionSeconds,omitempty"`

	// backend says how packets travel between nodes. Server-side apply replaces it as a whole.
	// +required
	// +structType=atomic
	Backend Backend `json:"backend,omitzero"`

	// mtu is the largest packet, in bytes, that pods send to other nodes; 0 (default) means the underlay's MTU minus the
	// backend's overhead (50 for vxlan).
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	// +kubebuilder:validation:XValidation:rule="self == 0 || self >= 576",message="mtu must be 0, or at least 576"
	MTU *int32 `json:"mtu,omitempty"`

	// ipMasq says which packets of pods leave with their node's address.
	// +optional
	IPMasq *IPMasq `json:"ipMasq,omitempty"`

	// interface says how each node finds its underlay interface. It cannot change while leases are in use.
	// +optional
	Interface *InterfaceRules `json:"interface,omitempty"`

	// cni says how pods are plugged in.
	// +optional
	CNI *CNISettings `json:"cni,omitempty"`

	// rollout says how a change of backend or mtu is brought to a running cluster.
	// +optional
	Rollout *RolloutPolicy `json:"rollout,omitempty"`
}

// IPMasq says which packets of pods leave with their node's address.
type IPMasq struct {
	// mode is Enabled (default): packets from pods to anything outside the pod network carry their node's address; or
	// Disabled.
	// +optional
	Mode Toggle `json:"mode,omitempty"`

	// nonMasqueradeCIDRs are destinations outside the pod network that see the pod's own address, for example
	// "192.168.0.0/16".
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && string(cidr(self).masked()) == self",message="ipMasq.nonMasqueradeCIDRs must hold CIDRs in canonical form with zero host bits, such as 192.168.0.0/16 or fd00::/8"
	NonMasqueradeCIDRs []string `json:"nonMasqueradeCIDRs,omitempty"`

	// randomFully, when Enabled, has the kernel choose source ports at random, which avoids a race on busy nodes and breaks
	// NAT traversal that counts on kept ports. Default Disabled.
	// +optional
	RandomFully Toggle `json:"randomFully,omitempty"`

	// kubeProxyMasqueradeBit is the bit of the packet mark with which kube-proxy asks for masquerade (its
	// iptables.masqueradeBit), 0 to 31. Default 14, that is mark 0x4000.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=31
	KubeProxyMasqueradeBit *int32 `json:"kubeProxyMasqueradeBit,omitempty"`
}

// InterfaceRules are the rules for all nodes and their exceptions.
type InterfaceRules struct {
	InterfaceSelection `json:",inline"`

	// overrides replace the rules above for the nodes they select. The first that matches a node's labels applies.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Overrides []InterfaceOverride `json:"overrides,omitempty"`
}

// InterfaceOverride replaces the interface rules for the nodes it selects.
type InterfaceOverride struct {
	// nodeSelector selects the nodes by label.
	// +required
	NodeSelector metav1.LabelSelector `json:"nodeSelector,omitzero"`

	InterfaceSelection `json:",inline"`
}

// CNISettings say how pods are plugged in.
type CNISettings struct {
	// bridge is the name of the bridge on every node. Default "cni0". It cannot change while leases are in use.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9][a-zA-Z0-9_-]{0,14}$') && !(self in ['all', 'default', 'lo'])",message="cni.bridge must be an interface name: 1 to 15 letters, digits, - or _, and not all, default or lo"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^hs?[0-9]+-[0-9]+$')",message="cni.bridge must not look like a tunnel device of hopsack (hs1-8472)"
	Bridge string `json:"bridge,omitempty"`

	// hairpinMode, when Enabled (default), lets a pod reach itself through its own Service. A change is for pods that start
	// afterwards.
	// +optional
	HairpinMode Toggle `json:"hairpinMode,omitempty"`

	// portMappings, when Enabled (default), chains the portmap plugin, which serves hostPort. A change is for pods that start
	// afterwards.
	// +optional
	PortMappings Toggle `json:"portMappings,omitempty"`

	// plugins are chained after hopsack's own, in this order. A change is for pods that start afterwards. With any, the
	// configuration is of CNI 1.0.0, which all of them speak; without, runtimes that know 1.1.0 ask by STATUS whether the network
	// works, and a node is not Ready while it does not.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Plugins []ChainedPlugin `json:"plugins,omitempty"`

	// conflist is Enabled (default) when hopsack writes the CNI configuration file on every node, Disabled when the user
	// does.
	// +optional
	Conflist Toggle `json:"conflist,omitempty"`
}

// ChainedPlugin is one more CNI plugin in the chain.
type ChainedPlugin struct {
	// type is the name of the plugin's binary, for example "bandwidth". It must be in the CNI bin directory of every node,
	// else no pod starts there; hopsack neither installs it nor looks.
	// +required
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9][a-zA-Z0-9_.-]*$') && self != 'hopsack'",message="cni.plugins[].type must be the file name of a CNI plugin other than hopsack, such as bandwidth"
	Type string `json:"type,omitempty"`

	// config holds the plugin's further keys as its own documentation has them, for example
	// {"capabilities": {"bandwidth": true}}.
	// +optional
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=object
	Config *runtime.RawExtension `json:"config,omitempty"`
}

// EffectiveSpec is the spec with every default filled in, as nodes have it.
type EffectiveSpec struct {
	// network is the range all pod addresses come from.
	// +optional
	Network string `json:"network,omitempty"`
	// subnetLen is the prefix length of a node's subnet.
	// +optional
	SubnetLen int32 `json:"subnetLen,omitempty"`
	// subnetMin is the first address of the first subnet that may be handed out.
	// +optional
	SubnetMin string `json:"subnetMin,omitempty"`
	// subnetMax is the first address of the last subnet that may be handed out.
	// +optional
	SubnetMax string `json:"subnetMax,omitempty"`
	// podCIDRs is Auto or Ignore.
	// +optional
	PodCIDRs PodCIDRPolicy `json:"podCIDRs,omitempty"`
	// retentionSeconds is how long a gone node's subnet waits for it.
	// +optional
	RetentionSeconds int32 `json:"retentionSeconds"`
	// backend is the backend with its defaults.
	// +optional
	Backend Backend `json:"backend,omitzero"`
	// mtu is the configured MTU; 0 means each node's underlay MTU minus the backend's overhead.
	// +optional
	MTU int32 `json:"mtu"`
	// ipMasq is the masquerade setting with its defaults.
	// +optional
	IPMasq IPMasq `json:"ipMasq,omitzero"`
	// interface holds the interface rules for all nodes.
	// +optional
	Interface InterfaceRules `json:"interface,omitzero"`
	// cni is the CNI setting with its defaults.
	// +optional
	CNI CNISettings `json:"cni,omitzero"`
	// rollout is the rollout policy with its defaults.
	// +optional
	Rollout RolloutPolicy `json:"rollout,omitzero"`
}

// NodeCounts counts nodes. It does not grow with the cluster.
type NodeCounts struct {
	// total is the number of Nodes.
	Total int32 `json:"total"`
	// live is the number of nodes that a rollout waits for: Ready, Ready until less than 40 s ago, or new.
	Live int32 `json:"live"`
	// ready is the number of nodes whose agent reports a working data path for the current NodeNetwork.
	Ready int32 `json:"ready"`
	// prepared is the number of nodes that can receive the target revision.
	Prepared int32 `json:"prepared"`
	// verified is the number of nodes that proved the target revision towards every peer.
	Verified int32 `json:"verified"`
	// switched is the number of nodes that send with the target revision.
	Switched int32 `json:"switched"`
}

// SubnetCounts counts the subnets between subnetMin and subnetMax.
type SubnetCounts struct {
	// total is the number of subnets that may be handed out.
	Total int32 `json:"total"`
	// used is the number held by a lease, adopted, reserved and released ones included.
	Used int32 `json:"used"`
	// free is total minus used.
	Free int32 `json:"free"`
}

// NetworkConfigStatus is what the controller saw and did. It can be lost without harm.
type NetworkConfigStatus struct {
	// observedGeneration is the generation of the spec this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Ready, Progressing, Stalled and AgentsConfined.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// effective is the configuration that nodes have or are being moved to, every default filled in. A spec that was
	// refused does not show here; of one that was rolled back, or only tried (rollout.strategy VerifyOnly), backend and mtu do
	// not: they are those that nodes went back to, or kept.
	// +optional
	Effective *EffectiveSpec `json:"effective,omitempty"`

	// activeRevision is the revision that every node can receive and that nodes send with unless they are being moved.
	// +optional
	ActiveRevision string `json:"activeRevision,omitempty"`

	// targetRevision is the revision nodes are being moved to; equal to activeRevision when nothing is under way.
	// +optional
	TargetRevision string `json:"targetRevision,omitempty"`

	// nodes counts nodes.
	// +optional
	Nodes NodeCounts `json:"nodes,omitzero"`

	// subnets counts subnets.
	// +optional
	Subnets SubnetCounts `json:"subnets,omitzero"`

	// rollout is the change under way, or the last one.
	// +optional
	Rollout *RolloutStatus `json:"rollout,omitempty"`

	// failingPairs are pairs of nodes between which the target revision was not proven to work, at most 16.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	FailingPairs []NodePair `json:"failingPairs,omitempty"`
	// failingPairCount is how many there are.
	// +optional
	FailingPairCount int32 `json:"failingPairCount,omitempty"`

	// encapsulatedPairs are pairs of nodes on the same segment that stay encapsulated with directRouting Verified because the
	// direct path was not proven to work, at most 16.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	EncapsulatedPairs []NodePair `json:"encapsulatedPairs,omitempty"`
	// encapsulatedPairCount is how many there are.
	// +optional
	EncapsulatedPairCount int32 `json:"encapsulatedPairCount,omitempty"`

	// history holds the last 10 revisions that were rolled out or tried, the newest first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	History []RevisionRecord `json:"history,omitempty"`
}

// NetworkConfig is the pod network of the cluster. Its name is "default". While nodes use it, its deletion waits until the
// annotation net.hopsack.dev/teardown: confirmed is set: then every pod is cut off.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=netcfg,categories=hopsack
// +kubebuilder:validation:XValidation:fieldPath=".metadata",rule="self.metadata.name == 'default'",message="metadata.name must be default: a cluster has one pod network"
// +kubebuilder:printcolumn:name="NETWORK",type=string,JSONPath=`.status.effective.network`
// +kubebuilder:printcolumn:name="BACKEND",type=string,JSONPath=`.status.effective.backend.type`
// +kubebuilder:printcolumn:name="DIRECT",type=string,JSONPath=`.status.effective.backend.vxlan.directRouting`
// +kubebuilder:printcolumn:name="READY",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="REASON",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="ROLLOUT",type=string,JSONPath=`.status.rollout.phase`
// +kubebuilder:printcolumn:name="NODES",type=integer,JSONPath=`.status.nodes.total`
// +kubebuilder:printcolumn:name="NODES-READY",type=integer,JSONPath=`.status.nodes.ready`
// +kubebuilder:printcolumn:name="FREE",type=integer,JSONPath=`.status.subnets.free`
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="MESSAGE",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:selectablefield:JSONPath=`.spec.backend.type`
type NetworkConfig struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the pod network as its user wants it.
	// +required
	Spec NetworkConfigSpec `json:"spec,omitzero"`
	// status is what the controller saw and did. Before it has seen anything, observedGeneration is -1: kstatus, and so Flux,
	// calls an object without any status Current.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status NetworkConfigStatus `json:"status,omitzero"`
}

// NetworkConfigList is a list of NetworkConfigs; it has at most one item.
// +kubebuilder:object:root=true
type NetworkConfigList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []NetworkConfig `json:"items"`
}
