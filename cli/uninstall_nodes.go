package cli

import (
	"context"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// withoutCondition takes NetworkUnavailable off a Node's status.
const withoutCondition = `{"status":{"conditions":[{"$patch":"delete","type":"` + string(corev1.NodeNetworkUnavailable) + `"}]}}`

// releaseNodes takes the condition that the controller kept off the Nodes: nobody keeps it any more, and as long as it is True no
// pod comes to a node, whatever network it gets next. before is what was there when the run began.
func (u *uninstall) releaseNodes(ctx context.Context, before *remains) error {
	now, err := look(ctx, u.c)
	if err != nil {
		return err
	}
	var done []string
	for _, name := range slices.Sorted(maps.Keys(now.nodes)) {
		if !ownCondition(now.nodes[name], before.networks[name] != nil) {
			continue
		}
		err := u.c.Status().Patch(ctx, now.nodes[name], client.RawPatch(types.StrategicMergePatchType, []byte(withoutCondition)), client.FieldOwner(fieldOwner))
		if client.IgnoreNotFound(err) != nil {
			return explain(err, "take the condition "+string(corev1.NodeNetworkUnavailable)+" off node "+name)
		}
		done = append(done, name)
	}
	if len(done) > 0 {
		u.printf("condition %s taken off %s: %s", corev1.NodeNetworkUnavailable, plural(len(done), "node"), firstNames(done))
	}
	return nil
}

// ownCondition says that the condition is the controller's: by its reason, or because hopsack was the node's network when the run
// began, as the controller passes on whatever reason an agent gives.
func ownCondition(node *corev1.Node, networked bool) bool {
	c := nodeSays(node, corev1.NodeNetworkUnavailable)
	return c.Type != "" && (networked || c.Reason == v1alpha1.ReasonCleanedUp || strings.HasPrefix(c.Reason, "Hopsack"))
}
