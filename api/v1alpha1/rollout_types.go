package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// RolloutStrategy says whether a change is brought about or only tried.
// +kubebuilder:validation:Enum=Rolling;VerifyOnly
type RolloutStrategy string

// Values of RolloutStrategy.
const (
	// RolloutRolling prepares, verifies, switches and cleans up.
	RolloutRolling RolloutStrategy = "Rolling"
	// RolloutVerifyOnly is a dry run: it prepares and verifies, says what it found, and takes everything back.
	RolloutVerifyOnly RolloutStrategy = "VerifyOnly"
)

// FailurePolicy says what follows when a node cannot use what it was switched to.
// +kubebuilder:validation:Enum=Rollback;Pause
type FailurePolicy string

// Values of FailurePolicy.
const (
	// FailureRollback has every node go back to the revision before.
	FailureRollback FailurePolicy = "Rollback"
	// FailurePause leaves the nodes that were switched where they are.
	FailurePause FailurePolicy = "Pause"
)

// RolloutPolicy says how a change of backend or mtu is brought to a running cluster.
type RolloutPolicy struct {
	// strategy is Rolling (default), or VerifyOnly, which tries a change without any node sending with it.
	// +optional
	Strategy RolloutStrategy `json:"strategy,omitempty"`

	// maxConcurrent is how many nodes may be between being told to switch and having proven it, as a number or as a
	// percentage of all nodes; at least one. Default "10%".
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=10
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 1 : self.matches('^([1-9][0-9]?|100)%$')",message="rollout.maxConcurrent must be a number of at least 1, or a percentage from 1% to 100%"
	MaxConcurrent *intstr.IntOrString `json:"maxConcurrent,omitempty"`

	// canary selects the nodes that switch first, by label; all others wait until those have proven the change. Default: none.
	// +optional
	Canary *metav1.LabelSelector `json:"canary,omitempty"`

	// progressDeadlineSeconds is how long a rollout may make no progress before it is Stalled, 1 to 86400. It goes on by
	// itself when it can. Default 600.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	ProgressDeadlineSeconds *int32 `json:"progressDeadlineSeconds,omitempty"`

	// onFailure says what follows when a node cannot use what it was switched to and goes back by itself: Rollback (default)
	// takes all nodes back to the revision before; Pause leaves the others where they are.
	// +optional
	OnFailure FailurePolicy `json:"onFailure,omitempty"`

	// abandonAfterSeconds is how long a rollout waits for a node that is not live, 0 to 31536000; then it goes on without
	// the node, whose own traffic may be lost until it is back. 0 (default) means for ever.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=31536000
	AbandonAfterSeconds *int32 `json:"abandonAfterSeconds,omitempty"`
}

// RolloutPhase is how far a rollout is.
type RolloutPhase string

// Values of RolloutPhase.
const (
	// PhaseSettled: there is one revision, and every node sends with it.
	PhaseSettled RolloutPhase = "Settled"
	// PhasePreparing: every node is to receive the target beside what it has. Nothing that carries traffic changes.
	PhasePreparing RolloutPhase = "Preparing"
	// PhaseVerifying: every node receives the target; each is proving it towards each.
	PhaseVerifying RolloutPhase = "Verifying"
	// PhaseSwitching: nodes are moved to send with the target.
	PhaseSwitching RolloutPhase = "Switching"
	// PhaseRollingBack: nodes are moved back because one of them failed.
	PhaseRollingBack RolloutPhase = "RollingBack"
	// PhaseCleaning: every node sends with the target; what else is received is going.
	PhaseCleaning RolloutPhase = "Cleaning"
)

// RolloutStatus is the change of revision under way, or the last one.
type RolloutStatus struct {
	// generation is the generation of the NetworkConfig that asked for the change.
	// +optional
	Generation int64 `json:"generation,omitempty"`
	// phase is Preparing, Verifying, Switching, RollingBack, Cleaning or Settled.
	// +optional
	Phase RolloutPhase `json:"phase,omitempty"`
	// source is the revision nodes are moved away from.
	// +optional
	Source string `json:"source,omitempty"`
	// target is the revision nodes are moved to.
	// +optional
	Target string `json:"target,omitempty"`
	// startedAt is when the change was taken up.
	// +optional
	StartedAt *metav1.MicroTime `json:"startedAt,omitempty"`
	// phaseStartedAt is when the phase began.
	// +optional
	PhaseStartedAt *metav1.MicroTime `json:"phaseStartedAt,omitempty"`
	// progressedAt is when a node last came closer to the target; the progress deadline counts from it.
	// +optional
	ProgressedAt *metav1.MicroTime `json:"progressedAt,omitempty"`
	// completedAt is when the phase became Settled.
	// +optional
	CompletedAt *metav1.MicroTime `json:"completedAt,omitempty"`
	// waitingFor names nodes whose report is missing for the next step, at most 16.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	WaitingFor []string `json:"waitingFor,omitempty"`
	// waitingCount is how many there are.
	// +optional
	WaitingCount int32 `json:"waitingCount,omitempty"`
	// paused says that the annotation net.hopsack.dev/paused holds the rollout: no further node is moved.
	// +optional
	Paused bool `json:"paused,omitempty"`
	// failure is why the generation was given up; it is tried again when the spec or the annotation net.hopsack.dev/retry
	// changes.
	// +optional
	Failure *RolloutFailure `json:"failure,omitempty"`
	// verified says, with strategy VerifyOnly, that the target was proven between all nodes.
	// +optional
	Verified bool `json:"verified,omitempty"`
	// abandoned names nodes the rollout went on without, at most 16.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Abandoned []string `json:"abandoned,omitempty"`
}

// RolloutFailure is a failure after a node was switched.
type RolloutFailure struct {
	// generation is the generation of the NetworkConfig that failed.
	Generation int64 `json:"generation"`
	// revision is the revision that failed.
	// +optional
	Revision string `json:"revision,omitempty"`
	// node is the first node that failed.
	// +optional
	Node string `json:"node,omitempty"`
	// message says why, as the node reported it.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
	// retry is the value of the annotation net.hopsack.dev/retry at that time.
	// +optional
	Retry string `json:"retry,omitempty"`
	// policy is what followed: Rollback or Pause.
	// +optional
	Policy FailurePolicy `json:"policy,omitempty"`
}

// NodePair is a path from one node to another and what is wrong with it.
type NodePair struct {
	// from is the node that probed.
	From string `json:"from"`
	// to is the node that was probed.
	To string `json:"to"`
	// reason is one word for programs.
	// +optional
	Reason string `json:"reason,omitempty"`
	// message is a sentence for people.
	// +optional
	Message string `json:"message,omitempty"`
}

// RevisionOutcome is how a revision fared.
// +kubebuilder:validation:Enum=InProgress;Completed;Superseded;Failed;Verified
type RevisionOutcome string

// Values of RevisionOutcome.
const (
	// OutcomeInProgress: being rolled out.
	OutcomeInProgress RevisionOutcome = "InProgress"
	// OutcomeCompleted: every node came to send with it.
	OutcomeCompleted RevisionOutcome = "Completed"
	// OutcomeSuperseded: the spec asked for another one first.
	OutcomeSuperseded RevisionOutcome = "Superseded"
	// OutcomeFailed: a node could not use it.
	OutcomeFailed RevisionOutcome = "Failed"
	// OutcomeVerified: it was tried with strategy VerifyOnly, and works.
	OutcomeVerified RevisionOutcome = "Verified"
)

// RevisionRecord is one entry of the history: enough to go back to it.
type RevisionRecord struct {
	// revision is its id.
	Revision string `json:"revision"`
	// generation is the generation of the NetworkConfig that asked for it.
	Generation int64 `json:"generation"`
	// backend is the backend with its defaults.
	// +optional
	Backend Backend `json:"backend,omitzero"`
	// mtu is the configured MTU in bytes; 0 means the underlay's MTU minus the backend's overhead.
	// +optional
	MTU int32 `json:"mtu,omitempty"`
	// startedAt is when it was taken up.
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`
	// endedAt is when the outcome was known.
	// +optional
	EndedAt *metav1.Time `json:"endedAt,omitempty"`
	// outcome is how it fared.
	// +optional
	Outcome RevisionOutcome `json:"outcome,omitempty"`
	// message says why it failed.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}
