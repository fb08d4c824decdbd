package probe

import (
	"context"
	"fmt"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// Diagnose finds out why a peer did not answer as it should.
func (p *Prober) Diagnose(ctx context.Context, path string, t Target, a Answer) Finding {
	if a.OK {
		return Finding{}
	}
	return Finding{Reason: v1alpha1.ProbeNoAnswer, Message: fmt.Sprintf("no answer from %s", t.Underlay)}
}
