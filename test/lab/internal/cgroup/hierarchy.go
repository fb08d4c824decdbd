package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Hierarchy is one tree of control groups of version 1, and a place in it.
type Hierarchy struct {
	// Name is what its mount is called below /sys/fs/cgroup, for example "cpu,cpuacct" or "systemd".
	Name string `json:"name"`
	// Options mount it, for example "cpu,cpuacct" or "none,name=systemd".
	Options string `json:"options"`
	// Dir is the place.
	Dir string `json:"dir"`
}

// controllers are what a kubelet cannot do without.
var controllers = []string{"cpu", "cpuacct", "cpuset", "memory", "pids"}

// Own returns the caller's place in every hierarchy of version 1. It is an error when one is missing that a kubelet needs.
func Own() ([]Hierarchy, error) {
	places, err := os.Open("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	defer places.Close()
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer mounts.Close()
	return own(places, mounts)
}

func own(places, mounts io.Reader) ([]Hierarchy, error) {
	at, err := parseMounts(mounts)
	if err != nil {
		return nil, err
	}
	var out []Hierarchy
	var have []string
	for lines := bufio.NewScanner(places); lines.Scan(); {
		// "4:cpu,cpuacct:/user.slice"; the line of version 2 names no controller.
		fields := strings.SplitN(lines.Text(), ":", 3)
		if len(fields) != 3 || fields[1] == "" {
			continue
		}
		m, ok := at[fields[1]]
		if !ok {
			continue
		}
		rel, err := filepath.Rel(m.root, fields[2])
		if err != nil || strings.HasPrefix(rel, "..") {
			return nil, fmt.Errorf("find own control group %s: %s shows %s only", fields[2], m.target, m.root)
		}
		h := Hierarchy{Name: fields[1], Options: fields[1], Dir: filepath.Join(m.target, rel)}
		if name, named := strings.CutPrefix(fields[1], "name="); named {
			h.Name, h.Options = name, "none,"+fields[1]
		}
		have = append(have, strings.Split(fields[1], ",")...)
		out = append(out, h)
	}
	for _, want := range controllers {
		if !slices.Contains(have, want) {
			return nil, fmt.Errorf("nodes with a kubelet need control groups of version 1, and this machine has no mounted hierarchy with %q: "+
				"start its kernel with systemd.unified_cgroup_hierarchy=0, or use the lab without --kubelet", want)
		}
	}
	return out, nil
}

type mount struct {
	root   string
	target string
}

// parseMounts returns the mounted hierarchies of version 1 by the name they have in /proc/self/cgroup.
func parseMounts(mountinfo io.Reader) (map[string]mount, error) {
	out := map[string]mount{}
	lines := bufio.NewScanner(mountinfo)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields, tail := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(tail) < 3 || tail[0] != "cgroup" {
			continue
		}
		if name := hierarchyName(tail[2]); name != "" {
			out[name] = mount{root: fields[3], target: fields[4]}
		}
	}
	return out, lines.Err()
}

// known are the controllers of version 1, in the order in which the kernel names those that share a hierarchy.
var known = []string{"cpuset", "cpu", "cpuacct", "blkio", "memory", "devices", "freezer", "net_cls", "perf_event", "net_prio", "hugetlb", "pids", "rdma", "misc"}

// hierarchyName finds the controllers, or the name, among the options of a mount.
func hierarchyName(options string) string {
	var found []string
	for _, option := range strings.Split(options, ",") {
		if strings.HasPrefix(option, "name=") {
			return option
		}
		if slices.Contains(known, option) {
			found = append(found, option)
		}
	}
	return strings.Join(found, ",")
}

// Child returns the place called name below each of parents. Nothing is made.
func Child(parents []Hierarchy, name string) []Hierarchy {
	children := slices.Clone(parents)
	for i := range children {
		children[i].Dir = filepath.Join(children[i].Dir, name)
	}
	return children
}

// Make makes the places, whose parents exist. One that exists is kept.
func Make(places []Hierarchy) error {
	for _, h := range places {
		if err := os.Mkdir(h.Dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("make control group: %w", err)
		}
		if !slices.Contains(strings.Split(h.Name, ","), "cpuset") {
			continue
		}
		// A new cpuset has neither processors nor memory, and takes no process.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			value, err := os.ReadFile(filepath.Join(filepath.Dir(h.Dir), file))
			if err == nil {
				err = os.WriteFile(filepath.Join(h.Dir, file), value, 0o644)
			}
			if err != nil {
				return fmt.Errorf("fill %s of %s: %w", file, h.Dir, err)
			}
		}
	}
	return nil
}
