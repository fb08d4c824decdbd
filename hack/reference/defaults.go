package main

import (
	"encoding/json"
	"fmt"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
)

// exampleNetwork is the range for which the page tells defaults that depend on it.
const exampleNetwork = "10.244.0.0/16"

// defaults are the values of fields that a user leaves out, by their path below spec.
type defaults map[string]string

// readDefaults asks the controller's own code what it makes of a spec that says no more than it must.
func readDefaults() (defaults, error) {
	out := defaults{}
	// Of a union there is one member at a time.
	for _, backend := range []v1alpha1.BackendType{v1alpha1.BackendVXLAN, v1alpha1.BackendUDP} {
		var c v1alpha1.NetworkConfig
		c.Name = v1alpha1.NetworkConfigName
		c.Spec.Network, c.Spec.Backend.Type = exampleNetwork, backend
		parsed, err := network.FromAPI(&c)
		if err != nil {
			return nil, fmt.Errorf("fill in defaults: %w", err)
		}
		raw, err := json.Marshal(parsed.Effective())
		if err != nil {
			return nil, err
		}
		var effective map[string]any
		if err := json.Unmarshal(raw, &effective); err != nil {
			return nil, err
		}
		out.add("spec", effective)
	}
	// What must be given has no default.
	delete(out, "spec.network")
	delete(out, "spec.backend.type")
	return out, nil
}

func (d defaults) add(path string, values map[string]any) {
	for name, value := range values {
		switch v := value.(type) {
		case map[string]any:
			d.add(path+"."+name, v)
		case nil, []any:
		default:
			d[path+"."+name] = fmt.Sprint(v)
		}
	}
}
