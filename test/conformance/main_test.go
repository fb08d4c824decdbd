package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const report = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="7"><testsuite name="Kubernetes e2e suite">
<testcase name="[SynchronizedBeforeSuite]" status="passed"></testcase>
<testcase name="[It] [sig-network] a" status="passed"><system-err>said</system-err></testcase>
<testcase name="[It] [sig-network] b" status="failed"><failure message="no" type="failed">why</failure></testcase>
<testcase name="[It] [sig-network] c" status="panicked"><error message="oh" type="panicked">where</error></testcase>
<testcase name="[It] [sig-apps] d" status="skipped"><skipped message="skipped"></skipped></testcase>
<testcase name="[It] [sig-network] e" status="skipped"><skipped message="skipped - needs two zones"></skipped></testcase>
<testcase name="[SynchronizedAfterSuite]" status="failed"><failure message="late" type="failed"></failure></testcase>
</testsuite></testsuites>`

func TestReadReport(t *testing.T) {
	path := filepath.Join(t.TempDir(), reportFile)
	if _, err := readReport(path); err == nil {
		t.Error("a report that is not there was read")
	}
	if err := os.WriteFile(path, []byte(report), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := readReport(path)
	if err != nil {
		t.Fatal(err)
	}
	want := counts{Passed: 1, Failed: 3, Skipped: 1, Failures: []string{"[sig-network] b", "[sig-network] c", "[SynchronizedAfterSuite]"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	if err := os.WriteFile(path, []byte(report[:len(report)/2]), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readReport(path); err == nil {
		t.Error("half a report was read")
	}
}

func TestParse(t *testing.T) {
	for _, args := range [][]string{{"-backend", "ipip"}, {"-backend", ""}, {"-kube-proxy", "none"}, {"more"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
	for backend, file := range networks {
		if _, err := parse([]string{"-backend", backend, "-kube-proxy", "iptables"}); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join("..", "..", "config", "samples", file)); err != nil {
			t.Errorf("the sample for %s: %v", backend, err)
		}
	}
}
