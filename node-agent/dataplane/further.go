package dataplane

import (
	"time"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// tryAgain is when a device that a further revision needs, and that could not be made, is tried again.
const tryAgain = time.Second

// madeLink counts a change to a device, or notes why it failed. What only a further revision needs, such as a UDP port that another
// program has or a kind of device that the kernel lacks, is no error: all that is in use is in place, and says so.
func (p *pass) madeLink(name string, err error) bool {
	if err == nil || !p.want.Links[name].IsTunnel() || p.inForce(name) {
		return p.did(KindLink, err)
	}
	p.problem(v1alpha1.ReasonRevisionUnusable, "%v", err)
	p.again = tryAgain // or earlier, for what lingers
	return false
}

// inForce says that routes of table main lead to a device.
func (p *pass) inForce(device string) bool {
	for _, r := range p.want.Routes {
		if r.Device == device {
			return true
		}
	}
	return false
}
