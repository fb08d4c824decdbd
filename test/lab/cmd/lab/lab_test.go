package main

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/hopsack-net/hopsack/test/lab"
	"github.com/hopsack-net/hopsack/test/lab/loss"
)

func TestParsePort(t *testing.T) {
	for text, want := range map[string]lab.PortMapping{
		"8080:80":     {HostPort: 8080, ContainerPort: 80, Protocol: "tcp"},
		"8080:80/tcp": {HostPort: 8080, ContainerPort: 80, Protocol: "tcp"},
		"53:5353/udp": {HostPort: 53, ContainerPort: 5353, Protocol: "udp"},
		"80":          {}, "80:": {}, ":80": {}, "0:80": {}, "80:65536": {}, "80:80/sctp": {}, "80:80/": {}, "-1:80": {}, "": {},
	} {
		got, err := parsePort(text)
		if bad := want == (lab.PortMapping{}); bad != (err != nil) {
			t.Errorf("%q: got %+v, %v", text, got, err)
			continue
		}
		if err == nil {
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%q (-want +got):\n%s", text, diff)
			}
		} else if !strings.Contains(err.Error(), "want HOST:CONTAINER") {
			t.Errorf("%q: %v does not say what is wanted", text, err)
		}
	}
}

func TestExitCode(t *testing.T) {
	ran := func(script string) error { return exec.Command("sh", "-c", script).Run() }
	for name, tc := range map[string]struct {
		err  error
		want int
	}{
		"success":             {nil, 0},
		"the command's":       {&loss.CommandError{Err: ran("exit 7")}, 7},
		"the command's, kept": {errors.Join(&loss.CommandError{Err: ran("exit 7")}, nil), 7},
		"a signal's":          {&loss.CommandError{Err: ran("kill -9 $$")}, 137},
		"our own":             {errors.New("no"), 1},
		"a tool of ours":      {fmt.Errorf("kubectl: %w", ran("exit 7")), 1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := exitCode(tc.err); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

// Every command tells how it is used.
func TestEveryCommandHasAnExample(t *testing.T) {
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Short == "" || cmd.Example == "" {
			t.Errorf("%q has no description or no example", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(newCommand())
}

func TestStopwatch(t *testing.T) {
	var out bytes.Buffer
	w := &stopwatch{start: time.Now().Add(-12 * time.Second), out: &out}
	fmt.Fprintf(w, "API server: ready\n")
	if want := " 12.0 s  API server: ready\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
