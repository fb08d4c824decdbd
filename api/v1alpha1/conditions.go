package v1alpha1

// Condition types of NetworkConfig. All are set on first sight (kstatus and Argo CD read them).
const (
	// ConditionReady (NetworkConfig): True when every node carries the active configuration and the spec is in effect.
	// Reasons: Ready, NoNodes (True); NodesNotReady, InvalidSpec, NeedsRollout, RangeInUse, SubnetsExhausted, NodeAddressOverlaps,
	// PodCIDROverlaps, ReservationOverlaps, OutsideNetwork, DuplicatePublicIP, PublicIPRejected, RollingOut, TeardownPending,
	// TearingDown, RolloutPaused, VerificationFailed, ProgressDeadlineExceeded, RolledBack, SwitchFailed (False); Verified (True:
	// with strategy VerifyOnly the change was tried and not made).
	// (SubnetLease): True when peers may send to the lease's node. Reasons: Bound, Draining, InUse (True); Pending, Released,
	// Overlaps, OutsideNetwork, DuplicatePublicIP, PublicIPRejected (False), and InUse before the node has an endpoint.
	// (NodeNetwork): the agent's summary. Reasons: Ready (True); CleanedUp, Unproven, or the reason of the first condition below
	// that is not well (False).
	ConditionReady = "Ready"

	// ConditionProgressing (NetworkConfig): True while nodes are being moved to the target revision.
	// Reasons: RollingOut, Settled, Refused, RolloutPaused, VerificationFailed, ProgressDeadlineExceeded, RolledBack, SwitchFailed,
	// Verified.
	ConditionProgressing = "Progressing"

	// ConditionStalled (NetworkConfig): True when hopsack cannot go on without a person; nothing was changed.
	// Reasons: InvalidSpec, NeedsRollout, RangeInUse, SubnetsExhausted, NodeAddressOverlaps, PodCIDROverlaps, ReservationOverlaps,
	// OutsideNetwork, TeardownPending, VerificationFailed, ProgressDeadlineExceeded, RolledBack, SwitchFailed, NotStalled.
	ConditionStalled = "Stalled"

	// ConditionAgentsConfined (NetworkConfig): True when the API server lets each agent write its own NodeNetwork status only.
	// It is a warning: False changes nothing else. Reasons: Confined, AdmissionPolicyMissing, AdmissionPolicyUnknown.
	ConditionAgentsConfined = "AgentsConfined"
)

// Condition types of NodeNetwork.
const (
	// ConditionSubnetsAssigned is the controller's only condition here: True when the node has its subnet.
	// Reasons: Assigned (True); Pending, SubnetsExhausted, WaitingForPodCIDR, PodCIDROverlaps, ReservationOverlaps, OutsideNetwork,
	// NodeAddressOverlaps, DuplicatePublicIP, PublicIPRejected (False).
	ConditionSubnetsAssigned = "SubnetsAssigned"

	// ConditionInterfaceSelected (agent): True when the underlay interface and address are known.
	// Reasons: Selected, NoInterface.
	ConditionInterfaceSelected = "InterfaceSelected"

	// ConditionProgrammed (agent): True when the last pass left the kernel as desired.
	// Reasons: Programmed, WaitingForSubnet, ProgrammingFailed, ForeignRoute, ForeignRule, ForeignDevice, RevisionUnusable, PeerUnreachable.
	ConditionProgrammed = "Programmed"

	// ConditionHostConfigured (agent): True when the host's sysctls, modules and FORWARD policy let pod traffic pass.
	// Reasons: Configured, HostNotConfigured.
	ConditionHostConfigured = "HostConfigured"

	// ConditionCNIConfigured (agent): True when the CNI hand-off is in place and no foreign configuration shadows it.
	// Reasons: Configured, ForeignCNI, NotWritten, Unmanaged.
	ConditionCNIConfigured = "CNIConfigured"

	// ConditionLeasesDoubtful (agent) is True when peers are kept although a complete list of leases did not show them.
	// Reasons: Complete, Doubtful.
	ConditionLeasesDoubtful = "LeasesDoubtful"
)

// Reasons. Each says when it is used.
const (
	// ReasonReady: everything asked for is in effect.
	ReasonReady = "Ready"
	// ReasonNotStalled: nothing needs a person.
	ReasonNotStalled = "NotStalled"
	// ReasonSettled: no change is under way.
	ReasonSettled = "Settled"
	// ReasonRefused: the spec was refused, so no change is under way.
	ReasonRefused = "Refused"
	// ReasonRollingOut: a change is accepted and not yet in effect on every node.
	ReasonRollingOut = "RollingOut"
	// ReasonNodesNotReady: some node's agent has not reported a working data path for its current NodeNetwork.
	ReasonNodesNotReady = "NodesNotReady"
	// ReasonNoNodes: the cluster has no nodes yet.
	ReasonNoNodes = "NoNodes"
	// ReasonInvalidSpec: the spec contradicts itself or the cluster (subnetMin after subnetMax, overlap with a ServiceCIDR
	// or a node's address); the message names the field.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonNeedsRollout: backend, mtu or interface changed in a way that this version cannot roll out.
	ReasonNeedsRollout = "NeedsRollout"
	// ReasonRangeInUse: network or subnetLen changed while leases are in use.
	ReasonRangeInUse = "RangeInUse"
	// ReasonSubnetsExhausted: no free node subnet is left between subnetMin and subnetMax.
	ReasonSubnetsExhausted = "SubnetsExhausted"
	// ReasonTeardownPending: the NetworkConfig is being deleted while leases are bound; the message names the way on.
	ReasonTeardownPending = "TeardownPending"
	// ReasonTearingDown: the teardown was confirmed; agents are cleaning up.
	ReasonTearingDown = "TearingDown"
	// ReasonConfined: the ValidatingAdmissionPolicy that confines agents and its binding are in place.
	ReasonConfined = "Confined"
	// ReasonAdmissionPolicyUnknown: the controller could not read whether that policy is in place.
	ReasonAdmissionPolicyUnknown = "AdmissionPolicyUnknown"
	// ReasonAdmissionPolicyMissing: the ValidatingAdmissionPolicy that confines agents to their own NodeNetwork is missing.
	ReasonAdmissionPolicyMissing = "AdmissionPolicyMissing"

	// ReasonPending: the lease is held for its node, which has not reported an endpoint yet; or the node's subnet is being chosen.
	ReasonPending = "Pending"
	// ReasonBound: the node is reachable at the published endpoint.
	ReasonBound = "Bound"
	// ReasonDraining: still bound and routed, hands out no new pod addresses.
	ReasonDraining = "Draining"
	// ReasonReleased: the node is gone; the subnet waits retentionSeconds for it.
	ReasonReleased = "Released"
	// ReasonInUse: the lease was deleted while its node uses it, and is held.
	ReasonInUse = "InUse"
	// ReasonOverlaps: the lease overlaps another one, named in the message, and is not bound.
	ReasonOverlaps = "Overlaps"
	// ReasonOutsideNetwork: a reservation outside spec.network; its node gets no other subnet instead.
	ReasonOutsideNetwork = "OutsideNetwork"

	// ReasonAssigned: the node has its subnet.
	ReasonAssigned = "Assigned"
	// ReasonWaitingForPodCIDR: the node appeared less than 10 s ago and may still get a podCIDR to adopt.
	ReasonWaitingForPodCIDR = "WaitingForPodCIDR"
	// ReasonPodCIDROverlaps: the node's podCIDR overlaps another node's lease.
	ReasonPodCIDROverlaps = "PodCIDROverlaps"
	// ReasonReservationOverlaps: the subnet reserved for the node overlaps another lease.
	ReasonReservationOverlaps = "ReservationOverlaps"
	// ReasonNodeAddressOverlaps: the node's own address lies inside the pod network.
	ReasonNodeAddressOverlaps = "NodeAddressOverlaps"
	// ReasonDuplicatePublicIP: the agent reported an address that another node's lease already publishes.
	ReasonDuplicatePublicIP = "DuplicatePublicIP"
	// ReasonPublicIPRejected: the agent reported an address that is neither one of the Node's nor inside spec.interface.cidrs.
	ReasonPublicIPRejected = "PublicIPRejected"

	// ReasonSelected: the underlay interface is known.
	ReasonSelected = "Selected"
	// ReasonNoInterface: no interface matches the rules; the message says which were tried.
	ReasonNoInterface = "NoInterface"
	// ReasonProgrammed: the kernel is as desired.
	ReasonProgrammed = "Programmed"
	// ReasonWaitingForSubnet: the node has no bound subnet, or the agent has not seen its NodeNetwork yet.
	ReasonWaitingForSubnet = "WaitingForSubnet"
	// ReasonProgrammingFailed: the kernel refused something; the message has the first error and a count.
	ReasonProgrammingFailed = "ProgrammingFailed"
	// ReasonForeignRoute: a route that is not hopsack's holds a prefix hopsack needs; it is left alone.
	ReasonForeignRoute = "ForeignRoute"
	// ReasonForeignRule: an ip rule that is not hopsack's comes before those for probes, which would prove another path than they are
	// to: no further revision is prepared. It is left alone.
	ReasonForeignRule = "ForeignRule"
	// ReasonRevisionUnusable: something that only a further revision needs cannot be made, such as a tunnel on a UDP port that another
	// program has; what the node sends with works.
	ReasonRevisionUnusable = "RevisionUnusable"
	// ReasonForeignDevice: a device that is not hopsack's holds a name, or a VNI and port, hopsack needs; it is left alone.
	ReasonForeignDevice = "ForeignDevice"
	// ReasonUnproven: fewer than half of the peers answer over the node's paths, or its lease is not published yet, so no pod is
	// started on it.
	ReasonUnproven = "Unproven"
	// ReasonRolloutPaused: the annotation net.hopsack.dev/paused holds the rollout.
	ReasonRolloutPaused = "RolloutPaused"
	// ReasonVerificationFailed: some pair of nodes cannot talk with the target; nothing was moved. It goes on by itself when
	// they can.
	ReasonVerificationFailed = "VerificationFailed"
	// ReasonProgressDeadlineExceeded: nothing came closer to the target for progressDeadlineSeconds; the message names the
	// nodes waited for. It goes on by itself when it can.
	ReasonProgressDeadlineExceeded = "ProgressDeadlineExceeded"
	// ReasonRolledBack: a node could not use what it was switched to, and all nodes were taken back. It is tried again when
	// the spec or the annotation net.hopsack.dev/retry changes.
	ReasonRolledBack = "RolledBack"
	// ReasonSwitchFailed: a node could not use what it was switched to and went back; with onFailure Pause the others stay.
	ReasonSwitchFailed = "SwitchFailed"
	// ReasonVerified: with strategy VerifyOnly, the change was proven to work and not made.
	ReasonVerified = "Verified"
	// ReasonPeerUnreachable: a peer cannot be reached without encapsulation and the backend allows none.
	ReasonPeerUnreachable = "PeerUnreachable"
	// ReasonConfigured: nothing is missing.
	ReasonConfigured = "Configured"
	// ReasonHostNotConfigured: a host need is not met and hopsack could not meet it; the message lists which.
	ReasonHostNotConfigured = "HostNotConfigured"
	// ReasonForeignCNI: another CNI configuration, or a leftover of one, was found; the message names it.
	ReasonForeignCNI = "ForeignCNI"
	// ReasonNotWritten: hopsack's CNI configuration is not in place yet.
	ReasonNotWritten = "NotWritten"
	// ReasonUnmanaged: spec.cni.conflist is Disabled, the user writes it.
	ReasonUnmanaged = "Unmanaged"
	// ReasonComplete: every known peer is in the list of leases.
	ReasonComplete = "Complete"
	// ReasonDoubtful: peers are missing from the list of leases although nobody was seen deleting them.
	ReasonDoubtful = "Doubtful"
	// ReasonCleanedUp: the agent removed all it had made, as the teardown asked.
	ReasonCleanedUp = "CleanedUp"
)
