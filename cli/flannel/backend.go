package flannel

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// flannelVXLANOverhead is what flannel takes off the MTU it is given.
const flannelVXLANOverhead = 50

// backend converts Backend. instead, when not empty, takes its place.
func (c *converter) backend(instead v1alpha1.BackendType) error {
	b, err := c.top.child("Backend")
	if err != nil {
		return err
	}
	kind, err := b.text("Type")
	if err != nil {
		return fmt.Errorf("Backend.%w", err)
	}
	if !c.top.present("Backend") {
		kind = "udp"
		c.note("Backend: it is missing, and flannel's default is udp. Consider vxlan: udp carries every packet through a process")
	}
	if kind == "" {
		return wrong("Backend.Type", "it is missing")
	}
	name := strings.ToLower(kind)
	keys, known := backendKeys(name)
	if !known {
		return wrong("Backend.Type", "flannel has no backend %q", kind)
	}
	for _, key := range b.repeated {
		c.note("Backend.%s: it is there more than once; the last one counts, as in flannel", key)
	}
	var carried []string
	switch why := impossible(name); {
	case instead != "" && string(instead) != name:
		if why == "" {
			why = "another one was asked for"
		}
		c.drop("Backend.Type: %s: %s. --backend %s takes its place", kind, why, instead)
		c.out.Spec.Backend = v1alpha1.Backend{Type: instead}
		if instead == v1alpha1.BackendAlloc {
			c.note("backend alloc: somebody else must route between nodes, or no pod reaches another node")
		}
	case why != "":
		return wrong("Backend.Type", "%s: %s; %s", kind, why, advice(name))
	default:
		if carried, err = c.same(name, b); err != nil {
			return fmt.Errorf("Backend.%w", err)
		}
	}
	c.backendLeftovers(name, b, keys, append(carried, "type"))
	return nil
}

// same converts the settings of a backend that both have, and returns the keys that it carried over, in lower case.
func (c *converter) same(name string, b object) (carried []string, err error) {
	c.out.Spec.Backend.Type = v1alpha1.BackendType(name)
	switch name {
	case "vxlan":
		return c.vxlan(b)
	case "udp":
		port, err := portOf(b)
		if err != nil {
			return nil, err
		}
		if port != nil {
			c.out.Spec.Backend.UDP = &v1alpha1.UDPBackend{Port: port}
		}
		c.note("backend udp: hopsack's datagrams are not flannel's; the nodes of one cluster run one or the other")
		return []string{"port"}, nil
	case "alloc":
		c.note("backend alloc: somebody else must route between nodes, as with flannel")
	}
	return nil, nil
}

func (c *converter) vxlan(b object) ([]string, error) {
	v := &v1alpha1.VXLANBackend{}
	vni, err := b.number("VNI")
	if err != nil {
		return nil, err
	}
	if b.present("VNI") {
		if vni < 1 || vni >= 1<<24 {
			return nil, wrong("VNI", "%d is not between 1 and 16777215", vni)
		}
		v.VNI = new(int32(vni))
	}
	if v.Port, err = portOf(b); err != nil {
		return nil, err
	}
	direct, err := b.flag("DirectRouting", false)
	if err != nil {
		return nil, err
	}
	if direct {
		v.DirectRouting = v1alpha1.DirectRoutingVerified
		c.note("Backend.DirectRouting: true becomes Verified: plain routes on the same segment wherever they are proven to work, VXLAN elsewhere. flannel does not prove them: that would be OnLink")
	}
	mtu, err := b.number("MTU")
	if err != nil {
		return nil, err
	}
	if mtu != 0 {
		if mtu-flannelVXLANOverhead < 576 || mtu > 65535 {
			return nil, wrong("MTU", "%d is not between %d and 65535", mtu, 576+flannelVXLANOverhead)
		}
		c.out.Spec.MTU = new(int32(mtu - flannelVXLANOverhead))
		c.note("Backend.MTU: %d becomes mtu: %d: flannel means the underlay's and takes %d off, hopsack means the pods'", mtu, mtu-flannelVXLANOverhead, flannelVXLANOverhead)
	}
	if *v != (v1alpha1.VXLANBackend{}) {
		c.out.Spec.Backend.VXLAN = v
	}
	return []string{"vni", "port", "directrouting", "mtu"}, nil
}

// portOf reads Port; 0 is flannel's way to say the default.
func portOf(b object) (*int32, error) {
	port, err := b.number("Port")
	if err != nil || port == 0 {
		return nil, err
	}
	if port < 1 || port > 65535 {
		return nil, wrong("Port", "%d is not between 1 and 65535", port)
	}
	return new(int32(port)), nil
}

// backendLeftovers names the keys of Backend that were not carried over. Secrets are named without their value.
func (c *converter) backendLeftovers(name string, b object, keys, carried []string) {
	for _, key := range b.keys {
		if slices.Contains(carried, strings.ToLower(key)) || !b.present(key) {
			continue
		}
		value := b.raw(key)
		if secret(key) {
			value = "(a secret)"
		}
		why := whyDropped(name, key)
		if !slices.ContainsFunc(keys, func(k string) bool { return strings.EqualFold(k, key) }) {
			why = "flannel's backend " + name + " has no such key and ignores it"
		}
		c.drop("Backend.%s: %s: %s", key, value, why)
	}
}

func whyDropped(name, key string) string {
	switch strings.ToLower(key) {
	case "gbp":
		return "hopsack sets up no VXLAN group based policy"
	case "learning":
		return "hopsack's VXLAN devices never learn: it knows every peer"
	case "macprefix", "name", "dnsserverlist":
		return "it is for Windows"
	}
	return "it belongs to the backend " + name + ", which was replaced"
}
