package handoff

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Pod is the plugin's record of a pod it plugged in, one file per pod: by it the agent finds the pods whose routes it must
// change when what nodes may send to each other changes.
type Pod struct {
	// ContainerID and IfName are the runtime's names of the attachment.
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifname"`
	// Netns is the path of the pod's network namespace. The namespace may have gone: not every pod is unplugged in order.
	Netns string `json:"netns"`
}

// PodsDir is the directory of the records: beside the hand-off file, so that it goes with a reboot as the pods do.
func PodsDir(handoffPath string) string { return filepath.Join(filepath.Dir(handoffPath), "pods") }

// podPath is safe to join: the CNI specification has no slash in either name, nor a container ID that begins with a dot.
func podPath(dir, containerID, ifName string) string {
	return filepath.Join(dir, filepath.Base(containerID+"-"+ifName))
}

// WritePod writes a record in one step; the directory is made if it is missing.
func WritePod(dir string, p Pod) error {
	data, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode the record of pod %s: %w", p.ContainerID, err)
	}
	return replaceFile(podPath(dir, p.ContainerID, p.IfName), append(data, '\n'))
}

// RemovePod removes a record. One that is not there is no error.
func RemovePod(dir, containerID, ifName string) error {
	err := os.Remove(podPath(dir, containerID, ifName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// ReadPod reads the record at path. The error wraps fs.ErrNotExist when it has been removed.
func ReadPod(path string) (Pod, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Pod{}, err // os already says what and where
	}
	var p Pod
	if err := json.Unmarshal(data, &p); err != nil {
		return Pod{}, fmt.Errorf("parse %s: %w", path, err)
	}
	if p.ContainerID == "" || p.IfName == "" || !filepath.IsAbs(p.Netns) {
		return Pod{}, fmt.Errorf("parse %s: it lacks one of containerID, ifname and netns", path)
	}
	// Runtimes say /var/run, a link of the host to /run. A container of the agent has /run/netns alone: there the other path
	// leads nowhere, and looks like a pod that is gone.
	if rest, ok := strings.CutPrefix(p.Netns, "/var/run/"); ok {
		p.Netns = "/run/" + rest
	}
	return p, nil
}
