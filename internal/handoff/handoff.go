package handoff

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
)

const (
	// DefaultPath is where the agent writes the file and the plugin looks for it.
	DefaultPath = "/run/hopsack/cni.json"

	// DefaultDataDir is where host-local keeps one file per address in use. It is on /run, so that the addresses of pods
	// that died in a reboot come back by themselves.
	DefaultDataDir = "/run/hopsack/ipam"

	// Version is the only version of the file this package reads and writes.
	Version = 1
)

// File is the content of the hand-off file.
type File struct {
	// Version is the version of the form; it must be Version.
	Version int

	// Bridge is the name of the bridge pods are plugged into. The agent creates it and owns all its addresses.
	Bridge string

	// MTU is the device MTU of a pod's eth0 and its veth in bytes: the MTU of the underlay.
	MTU int

	// RouteMTU is the mtu metric of a pod's default route in bytes, at most MTU: what the backend in use can carry. 0 puts
	// no metric on the route.
	RouteMTU int

	// HairpinMode says whether a pod's bridge port sends frames back where they came from, so that a pod reaches itself
	// through its own Service.
	HairpinMode bool

	// Subnets are all bound subnets of the node, the one holding its stable address first. It may be empty.
	Subnets []Subnet
}

// Subnet is one subnet of the node.
type Subnet struct {
	// Subnet is the lease's prefix, host bits zero.
	Subnet netip.Prefix

	// Gateway is the bridge's address in Subnet and the next hop of the pods' default route: GatewayAddress(Subnet).
	Gateway netip.Addr

	// Draining subnets keep their pods and hand out no new addresses.
	Draining bool
}

// Equal says whether f and g say the same, the order of the subnets included.
func (f File) Equal(g File) bool {
	return f.Version == g.Version && f.Bridge == g.Bridge && f.MTU == g.MTU && f.RouteMTU == g.RouteMTU &&
		f.HairpinMode == g.HairpinMode && slices.Equal(f.Subnets, g.Subnets)
}

// Usable returns the subnets that hand out addresses, in order.
func (f File) Usable() []Subnet {
	var usable []Subnet
	for _, s := range f.Subnets {
		if !s.Draining {
			usable = append(usable, s)
		}
	}
	return usable
}

// fileJSON is the wire form. Pointers tell an absent field from a zero one; addresses stay text, so that an error can name
// the field.
type fileJSON struct {
	Version     *int          `json:"version"`
	Bridge      *string       `json:"bridge"`
	MTU         *int          `json:"mtu"`
	RouteMTU    int           `json:"routeMTU"`
	HairpinMode bool          `json:"hairpinMode"`
	Subnets     *[]subnetJSON `json:"subnets"`
}

type subnetJSON struct {
	Subnet   string `json:"subnet"`
	Gateway  string `json:"gateway"`
	Draining bool   `json:"draining"`
}

// Marshal returns the file's bytes: the same for equal files. It refuses what Parse would refuse.
func Marshal(f File) ([]byte, error) {
	if err := f.validate(); err != nil {
		return nil, err
	}
	subnets := make([]subnetJSON, 0, len(f.Subnets))
	for _, s := range f.Subnets {
		subnets = append(subnets, subnetJSON{s.Subnet.String(), s.Gateway.String(), s.Draining})
	}
	b, err := json.MarshalIndent(fileJSON{&f.Version, &f.Bridge, &f.MTU, f.RouteMTU, f.HairpinMode, &subnets}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode hand-off file: %w", err)
	}
	return append(b, '\n'), nil
}

// Parse reads a file. version, bridge, mtu and subnets must be there; routeMTU, hairpinMode and draining default to zero.
// Errors name the field, as in "subnets[1].gateway: ...".
func Parse(data []byte) (File, error) {
	var w fileJSON
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&w); err != nil {
		// A newer version may well have keys this one does not know: then the version is what to complain about.
		if v := peekVersion(data); v != nil && *v != Version {
			return File{}, versionError(*v)
		}
		return File{}, decodeError(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return File{}, errors.New("more than one JSON value")
	}
	switch {
	case w.Version == nil:
		return File{}, errors.New("version: missing")
	case w.Bridge == nil:
		return File{}, errors.New("bridge: missing")
	case w.MTU == nil:
		return File{}, errors.New("mtu: missing")
	case w.Subnets == nil:
		return File{}, errors.New("subnets: missing")
	}
	f := File{Version: *w.Version, Bridge: *w.Bridge, MTU: *w.MTU, RouteMTU: w.RouteMTU, HairpinMode: w.HairpinMode}
	for i, s := range *w.Subnets {
		prefix, err := netip.ParsePrefix(s.Subnet)
		if err != nil {
			return File{}, fmt.Errorf("subnets[%d].subnet: %q is no CIDR", i, s.Subnet)
		}
		gateway, err := netip.ParseAddr(s.Gateway)
		if err != nil {
			return File{}, fmt.Errorf("subnets[%d].gateway: %q is no address", i, s.Gateway)
		}
		f.Subnets = append(f.Subnets, Subnet{prefix, gateway, s.Draining})
	}
	if err := f.validate(); err != nil {
		return File{}, err
	}
	return f, nil
}

func peekVersion(data []byte) *int {
	var v struct {
		Version *int `json:"version"`
	}
	if json.Unmarshal(data, &v) != nil {
		return nil
	}
	return v.Version
}

// decodeError turns encoding/json's error into one that names the field first.
func decodeError(err error) error {
	var typed *json.UnmarshalTypeError
	if errors.As(err, &typed) && typed.Field != "" {
		return fmt.Errorf("%s: got a JSON %s, want %s: %w", typed.Field, typed.Value, typed.Type, err)
	}
	if errors.Is(err, io.EOF) {
		return errors.New("empty")
	}
	return fmt.Errorf("decode JSON: %w", err)
}

func versionError(v int) error {
	return fmt.Errorf("version: got %d, want %d (agent and CNI plugin come from different releases)", v, Version)
}
