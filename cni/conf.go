package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/hopsack-net/hopsack/internal/handoff"
)

// netConf is the plugin's configuration as the conflist has it and the runtime completes it. Keys it does not list are not
// the plugin's business.
type netConf struct {
	CNIVersion string `json:"cniVersion"`
	Name       string `json:"name"`

	// Handoff is the hand-off file; empty is handoff.DefaultPath.
	Handoff string `json:"handoff"`

	// DataDir is where host-local keeps the addresses in use, in a directory of the network's name; empty is
	// handoff.DefaultDataDir.
	DataDir string `json:"dataDir"`

	// Delegate is a user's block for the bridge plugin, as flannel has it.
	Delegate map[string]json.RawMessage `json:"delegate"`

	// What the runtime or the user says to the delegates goes through unread.
	Args          json.RawMessage            `json:"args"`
	DNS           json.RawMessage            `json:"dns"`
	RuntimeConfig map[string]json.RawMessage `json:"runtimeConfig"`
	PrevResult    json.RawMessage            `json:"prevResult"`

	// IPAM is not taken from here: its presence is only told.
	IPAM json.RawMessage `json:"ipam"`

	// ValidAttachments are the attachments a GC must keep; nil: the key is absent. Early texts of CNI 1.1.0 had the second
	// name, and libcni sends both.
	ValidAttachments *[]types.GCAttachment `json:"cni.dev/valid-attachments"`
	Attachments      *[]types.GCAttachment `json:"cni.dev/attachments"`
}

// parseConf reads the configuration and fills in defaults. Errors name the key.
func parseConf(stdin []byte) (netConf, error) {
	var c netConf
	if err := json.Unmarshal(stdin, &c); err != nil {
		return netConf{}, decodeError(err)
	}
	if c.Handoff == "" {
		c.Handoff = handoff.DefaultPath
	}
	if c.DataDir == "" {
		c.DataDir = handoff.DefaultDataDir
	}
	for key, path := range map[string]string{"handoff": c.Handoff, "dataDir": c.DataDir} {
		if !filepath.IsAbs(path) {
			return netConf{}, invalidConf("%s: %q is no absolute path", key, path)
		}
	}
	return c, nil
}

// dataDir is the directory that holds the addresses of this network.
func (c netConf) dataDir() string {
	return filepath.Join(c.DataDir, c.Name)
}

func invalidConf(format string, args ...any) *types.Error {
	return types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf(format, args...), "")
}

// decodeError names the key and what was expected in the words of JSON.
func decodeError(err error) *types.Error {
	msg := "decode network configuration: " + err.Error()
	var typed *json.UnmarshalTypeError
	if errors.As(err, &typed) && typed.Field != "" {
		msg = fmt.Sprintf("%s: got a JSON %s, want %s", typed.Field, typed.Value, jsonKind(typed.Type))
	}
	return types.NewError(types.ErrDecodingFailure, msg, "")
}

func jsonKind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Map, reflect.Struct:
		return "an object"
	case reflect.Slice:
		return "an array"
	default:
		return "a " + t.Kind().String()
	}
}
