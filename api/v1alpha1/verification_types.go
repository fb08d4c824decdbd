package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// FailingPeer is a peer that a probe did not reach.
type FailingPeer struct {
	// node is the peer.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node,omitempty"`
	// reason is why: NoAnswer, PodAddressesDropped, PathMTU, ForwardPolicy, PeerDead or NoPath.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`
	// message is a sentence for people, for example "no answer over UDP 8472 from 172.30.0.12".
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Message string `json:"message,omitempty"`
}

// Reasons of FailingPeer.
const (
	// ProbeNoAnswer: no probe was answered over the path, and the peer answers over the current one.
	ProbeNoAnswer = "NoAnswer"
	// ProbePodAddressesDropped: the peer's own address answers, packets with pod addresses are lost: the underlay drops
	// addresses it does not know.
	ProbePodAddressesDropped = "PodAddressesDropped"
	// ProbePathMTU: small packets pass, packets of the MTU do not.
	ProbePathMTU = "PathMTU"
	// ProbeForwardPolicy: a packet filter on one of the two nodes drops what is forwarded to or from pods.
	ProbeForwardPolicy = "ForwardPolicy"
	// ProbePeerDead: the peer does not answer over the current path, either.
	ProbePeerDead = "PeerDead"
	// ProbeNoPath: the backend has no way to the peer, for example host-gw to a node behind a router.
	ProbeNoPath = "NoPath"
)

// Verification is what a node knows of one revision towards its peers. A peer is verified when probes of both sizes went
// there and back over exactly the path that the revision's routes take.
type Verification struct {
	// revision is the id of the revision.
	// +required
	// +kubebuilder:validation:MaxLength=32
	Revision string `json:"revision,omitempty"`
	// peers is the number of peers.
	Peers int32 `json:"peers"`
	// verified is the number of peers that were proven to be reachable. The revision is proven when it equals peers.
	Verified int32 `json:"verified"`
	// failingCount is the number of peers that were probed and not reached; they are probed again. Peers that are in neither
	// number have not been probed yet.
	FailingCount int32 `json:"failingCount"`
	// failing are some of them, at most 16.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Failing []FailingPeer `json:"failing,omitempty"`
	// encapsulatedCount is the number of peers on the same segment that are reached, but not directly (directRouting
	// Verified). They are probed again.
	// +optional
	EncapsulatedCount int32 `json:"encapsulatedCount,omitempty"`
	// encapsulated are some of them, at most 16.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Encapsulated []FailingPeer `json:"encapsulated,omitempty"`
}

// FailedRevision is a revision that a node tried to send with, and left by itself.
type FailedRevision struct {
	// revision is its id.
	// +required
	// +kubebuilder:validation:MaxLength=32
	Revision string `json:"revision,omitempty"`
	// failing are some of the peers that could not be reached any more, at most 16.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Failing []FailingPeer `json:"failing,omitempty"`
}

// PathCounts counts peers by how packets go to them.
type PathCounts struct {
	// direct is the number of peers whose packets go out as they are.
	Direct int32 `json:"direct"`
	// encapsulated is the number of peers whose packets go out encapsulated.
	Encapsulated int32 `json:"encapsulated"`
}

// CheckResult is the result of a check that a user asked for.
type CheckResult struct {
	// request is the value of spec.check that it answers.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Request string `json:"request,omitempty"`
	// finishedAt is when the last peer was probed.
	// +optional
	FinishedAt metav1.Time `json:"finishedAt,omitzero"`
	// peers is the number of peers probed.
	Peers int32 `json:"peers"`
	// reached is the number of peers that answered.
	Reached int32 `json:"reached"`
	// failing are some of those that did not, at most 16.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Failing []FailingPeer `json:"failing,omitempty"`
	// medianMicroseconds is the median of the round-trip times.
	// +optional
	MedianMicroseconds int64 `json:"medianMicroseconds,omitempty"`
	// slowestMicroseconds is the longest of them.
	// +optional
	SlowestMicroseconds int64 `json:"slowestMicroseconds,omitempty"`
}
