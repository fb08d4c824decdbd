package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// FileName is the file's name in the state directory.
const FileName = "objects.json"

// Content is what is kept.
type Content struct {
	// SavedAt is when the objects were last known to be good.
	SavedAt time.Time `json:"savedAt"`
	// Node is the node's own NodeNetwork.
	Node v1alpha1.NodeNetwork `json:"node"`
	// Leases are those of its peers and its own.
	Leases []v1alpha1.SubnetLease `json:"leases"`
	// Agent is what the agent found out by itself; nil in a file of a version that found out nothing.
	Agent *Agent `json:"agent,omitempty"`
}

// Agent is what an agent must not forget.
type Agent struct {
	// Confirmed is the revision that was proven after the node began to send with it, "" for none.
	Confirmed string `json:"confirmed,omitempty"`
	// Failed is the revision that the node was asked to send with and left by itself.
	Failed *v1alpha1.FailedRevision `json:"failed,omitempty"`
	// Proven is the endpoint at which peers answered, "" before they did.
	Proven string `json:"proven,omitempty"`
	// Check is the result of the last check.
	Check *v1alpha1.CheckResult `json:"check,omitempty"`
}

// Load returns what was saved, and false when nothing was. A file that cannot be read or parsed is an error.
func Load(dir string) (Content, bool, error) {
	path := filepath.Join(dir, FileName)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Content{}, false, nil
	}
	if err != nil {
		return Content{}, false, err
	}
	var c Content
	if err := json.Unmarshal(data, &c); err != nil {
		return Content{}, false, fmt.Errorf("parse %s: %w", path, err)
	}
	return c, true, nil
}

// Save writes the content and has it on disk before it returns: a power cut must not leave an empty file.
func Save(dir string, c Content) error {
	data, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode objects: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, "."+FileName+".")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails, as it should, once renamed
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", tmp.Name(), err)
	}
	return os.Rename(tmp.Name(), filepath.Join(dir, FileName))
}

// Remove deletes the file; that there is none is no error.
func Remove(dir string) error {
	err := os.Remove(filepath.Join(dir, FileName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
