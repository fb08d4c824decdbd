package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"
)

// Every command line that ships is one that the program takes: it would not start, on every node.
func TestShippedCommandLines(t *testing.T) {
	read := func(elem ...string) []byte {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(append([]string{"..", "..", "config"}, elem...)...))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	var lines [][]string
	for line := range strings.Lines(string(read("systemd", "hopsack-agent.service"))) {
		if key, value, _ := strings.Cut(strings.TrimSpace(line), "="); strings.HasPrefix(key, "Exec") && strings.Contains(value, "/hopsack-agent ") {
			lines = append(lines, strings.Fields(value)[1:])
		}
	}
	var ds appsv1.DaemonSet
	if err := yaml.UnmarshalStrict(read("agent", "daemonset.yaml"), &ds); err != nil {
		t.Fatal(err)
	}
	pod := ds.Spec.Template.Spec
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		lines = append(lines, append(slices.Clone(c.Command[1:]), c.Args...))
	}
	if len(lines) < 2 {
		t.Fatalf("found only %v", lines)
	}
	for _, args := range lines {
		cmd, rest, err := newCommand().Find(args)
		if err == nil {
			err = cmd.ParseFlags(rest)
		}
		if err == nil {
			err = cmd.ValidateArgs(cmd.Flags().Args())
		}
		if err != nil {
			t.Errorf("hopsack-agent %s: %v", strings.Join(args, " "), err)
		}
	}
}
