package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/plan"
)

// Reasons of the Node condition NetworkUnavailable.
const (
	// reasonUp (False): the agent reports a working data path.
	reasonUp = "HopsackIsUp"
	// reasonStarting (True): the agent has not said a word for this Node yet.
	reasonStarting = "HopsackIsStarting"
	// reasonDown (True): the agent reports that its data path does not work, without a reason of its own.
	reasonDown = "HopsackIsDown"
)

// networkUnavailable is what the condition must say; ok is false when it must stay as it is. Only the agent's own word, or its
// never having said one, makes a network unavailable: silence is not a word. A Node that says HopsackIsUp has heard one, even
// if the report is lost (a Node that was made anew says nothing).
func networkUnavailable(r plan.Report, now corev1.NodeCondition) (c corev1.NodeCondition, ok bool) {
	c.Type = corev1.NodeNetworkUnavailable
	switch {
	case (!r.Known || r.Word == "") && now.Reason == reasonUp:
		return c, false
	case !r.Known || r.Word == "":
		c.Status, c.Reason, c.Message = corev1.ConditionTrue, reasonStarting, "hopsack's agent has not reported on this node yet"
	case r.Ready:
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, reasonUp, "hopsack's agent reports a working data path"
	case r.Word == string(metav1.ConditionFalse):
		c.Status, c.Reason, c.Message = corev1.ConditionTrue, r.Reason, r.Message
		if c.Reason == "" {
			c.Reason = reasonDown
		}
	default:
		return c, false
	}
	return c, true
}

// tellNode patches the Node's condition if it differs.
func (p *pass) tellNode(ctx context.Context, name string) error {
	node := p.snap.nodes[name]
	have := nodeCondition(node, corev1.NodeNetworkUnavailable)
	nn := p.cluster.NodeNetworks[name]
	want, ok := networkUnavailable(nn.Report, have)
	if !ok || have == want || have.Reason == reasonUp && onlyFurther(nn) {
		return nil
	}
	want.LastHeartbeatTime = metav1.NewTime(p.now)
	if have.Status != want.Status {
		want.LastTransitionTime = metav1.NewTime(p.now)
	}
	patch, err := conditionPatch(want)
	if err != nil {
		return err
	}
	target := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := p.r.Client.Status().Patch(ctx, target, client.RawPatch(types.StrategicMergePatchType, patch)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("patch condition of node %s: %w", name, err)
	}
	p.wrote(kindNode, "status", target)
	p.log(ctx).Info("Changed NetworkUnavailable", keyNode, name, keyReason, want.Reason)
	return nil
}

// onlyFurther says that what the agent reports stands in the way of one of several revisions: of a change that is tried, which
// must not keep pods from nodes whose network works.
func onlyFurther(nn plan.NodeNetwork) bool {
	further := []string{v1alpha1.ReasonForeignDevice, v1alpha1.ReasonForeignRule, v1alpha1.ReasonRevisionUnusable}
	return len(nn.Revisions) > 1 && nn.Report.Known && slices.Contains(further, nn.Report.Reason)
}

// conditionPatch merges one condition by its type. A zero lastTransitionTime is left out, so that the present one stays.
func conditionPatch(c corev1.NodeCondition) ([]byte, error) {
	fields := map[string]any{
		"type": c.Type, "status": c.Status, "reason": c.Reason, "message": c.Message, "lastHeartbeatTime": c.LastHeartbeatTime,
	}
	if !c.LastTransitionTime.IsZero() {
		fields["lastTransitionTime"] = c.LastTransitionTime
	}
	out, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []any{fields}}})
	if err != nil {
		return nil, fmt.Errorf("print condition: %w", err)
	}
	return out, nil
}
