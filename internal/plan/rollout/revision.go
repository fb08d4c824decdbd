package rollout

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/internal/plan"
)

// ID names a revision by its content: the backend with its defaults, the MTU, and the interface rules of all nodes, not
// resolved for one. Equal content has equal names in every version of hopsack, so fields that are added later must be left
// out while they have their zero value.
func ID(b network.Backend, mtu int, rules v1alpha1.InterfaceRules) string {
	content, err := json.Marshal(struct {
		Backend   v1alpha1.Backend        `json:"backend"`
		MTU       int                     `json:"mtu"`
		Interface v1alpha1.InterfaceRules `json:"interface"`
	}{b.API(), mtu, rules})
	if err != nil {
		panic(err) // strings, numbers and string maps only: they can be marshalled
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:4])
}

// Target is the revision that a configuration asks for.
func Target(c network.Config) plan.Revision {
	return plan.Revision{ID: ID(c.Backend, c.MTU, c.Interface.API()), Backend: c.Backend, MTU: c.MTU}
}
