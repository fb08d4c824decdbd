package handoff

import "strings"

// PortMark is the first word of the ifalias of a pod's port, the host's end of its veth. It is not the mark of the agent's
// own devices: the port is the plugin's, and the agent only puts it back onto the bridge.
const PortMark = "hopsack-pod"

// Port is how a pod's port on the bridge is set. It is each pod's own, as what the network asks for may have changed since
// the pod was plugged in. The zero value is a port as the kernel makes it.
type Port struct {
	// Hairpin sends frames back where they came from, so that a pod reaches itself through its own Service.
	Hairpin bool
	// Isolated keeps frames from other isolated ports.
	Isolated bool
}

const (
	wordHairpin  = "hairpin"
	wordIsolated = "isolated"
)

// Alias is the ifalias by which the agent knows the port, for example "hopsack-pod hairpin".
func (p Port) Alias() string {
	alias := PortMark
	if p.Hairpin {
		alias += " " + wordHairpin
	}
	if p.Isolated {
		alias += " " + wordIsolated
	}
	return alias
}

// ParsePort reads an ifalias; it is not ok for one that is no pod's port. Words it does not know are a later version's, and
// no reason to leave a pod cut off.
func ParsePort(alias string) (p Port, ok bool) {
	mark, rest, _ := strings.Cut(alias, " ")
	if mark != PortMark {
		return Port{}, false
	}
	for word := range strings.FieldsSeq(rest) {
		switch word {
		case wordHairpin:
			p.Hairpin = true
		case wordIsolated:
			p.Isolated = true
		}
	}
	return p, true
}
