package loss

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// childEnv makes the test binary act as "lab loss": it holds the targets as JSON.
const childEnv = "HOPSACK_LOSS_TEST_TARGETS"

func TestMain(m *testing.M) {
	targets := os.Getenv(childEnv)
	if targets == "" {
		os.Exit(m.Run())
	}
	var known map[string]Endpoint
	if err := json.Unmarshal([]byte(targets), &known); err != nil {
		panic(err)
	}
	os.Exit(lab(known, os.Args[1:]))
}

// lab is what bin/lab does with the command.
func lab(known map[string]Endpoint, args []string) int {
	cmd := NewCommand(resolver(known))
	cmd.SetArgs(args)
	err := cmd.Execute()
	var exit interface{ ExitCode() int }
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode()
	case err != nil:
		return 1
	}
	return 0
}

func resolver(known map[string]Endpoint) func(string) (Endpoint, error) {
	return func(target string) (Endpoint, error) {
		e, ok := known[target]
		if !ok {
			return Endpoint{}, errors.New("no such pod or node")
		}
		return e, nil
	}
}

// child starts "lab loss ARGS" as a process of its own, which is gone when the test ends.
type child struct {
	*exec.Cmd
	out, err bytes.Buffer
}

func startChild(t *testing.T, targets map[string]Endpoint, args ...string) *child {
	t.Helper()
	b, err := json.Marshal(targets)
	if err != nil {
		t.Fatal(err)
	}
	c := &child{Cmd: exec.Command("/proc/self/exe", args...)}
	c.Env = append(os.Environ(), childEnv+"="+string(b))
	c.Stdout, c.Stderr = &c.out, &c.err
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if c.ProcessState == nil {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	})
	return c
}

func (c *child) result(t *testing.T) Result {
	t.Helper()
	if n := strings.Count(c.out.String(), "\n"); n != 1 {
		t.Fatalf("got %d lines on stdout, want 1: %q; stderr %q", n, c.out.String(), c.err.String())
	}
	var res Result
	if err := json.Unmarshal(c.out.Bytes(), &res); err != nil {
		t.Fatalf("stdout is not JSON: %v: %q", err, c.out.String())
	}
	t.Log(strings.TrimSpace(c.out.String()))
	return res
}

func (p *pair) targets() map[string]Endpoint { return map[string]Endpoint{"a": p.from, "b": p.to} }

func TestCommandPassesOutputAndStatusOn(t *testing.T) {
	p := newPair(t)
	cases := map[string]struct {
		script string
		want   int
	}{
		"success": {"echo word; sleep 0.1", 0},
		"failure": {"echo word; exit 7", 7},
		"signal":  {"echo word; kill -9 $$", 128 + 9},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			run := startChild(t, p.targets(), "a", "b", "--rate", "500", "--", "sh", "-c", c.script)
			_ = run.Wait()
			if got := run.ProcessState.ExitCode(); got != c.want {
				t.Errorf("exit status: got %d, want %d", got, c.want)
			}
			if !strings.Contains(run.err.String(), "word\n") {
				t.Errorf("the command's output is not on stderr: %q", run.err.String())
			}
			if res := run.result(t); res.lostBeyond(res.Counts) != 0 || res.From != "a" || res.To != "b" {
				t.Errorf("got %+v", res)
			}
		})
	}
}

// waitFor polls until cond holds.
func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if cond() {
			return
		}
	}
	t.Fatalf("%s: not within 10 s", what)
}

func TestSignalsLeaveNoRules(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) {
			g := newGate(t)
			targets := map[string]Endpoint{Client: g.o.From, "n1": g.o.NodePort.Node, "p": g.o.To}
			marker := t.TempDir() + "/running"
			run := startChild(t, targets, "nodeport:n1:p", "--", "sh", "-c", fmt.Sprintf("touch %s; exec sleep 3", marker))
			waitFor(t, "the command runs", func() bool { _, err := os.Stat(marker); return err == nil })
			tables := func() string {
				out, err := g.node.try("nft list tables")
				if err != nil {
					t.Fatal(err)
				}
				return out
			}
			if !strings.Contains(tables(), nodePortTable) {
				t.Errorf("no table while the command runs: %q", tables())
			}
			if err := run.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the table is gone", func() bool { return !strings.Contains(tables(), nodePortTable) })
			_ = run.Wait()
			if sig == syscall.SIGKILL {
				return
			}
			if got := run.ProcessState.ExitCode(); got != 128+int(sig) {
				t.Errorf("exit status: got %d, want %d: %s", got, 128+int(sig), run.err.String())
			}
			run.result(t)
			g.leftovers(t)
		})
	}
}

func TestAProbeKeptFromRunningSaysSo(t *testing.T) {
	p := newPair(t)
	marker := t.TempDir() + "/running"
	run := startChild(t, p.targets(), "a", "b", "--tcp", "--", "sh", "-c", "touch "+marker+"; sleep 1")
	waitFor(t, "the command runs", func() bool { _, err := os.Stat(marker); return err == nil })
	if err := run.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	if err := run.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := run.Wait(); err != nil {
		t.Fatalf("%v: %s", err, run.err.String())
	}
	res := run.result(t)
	if res.lostBeyond(res.Counts) != 0 || res.Broken != 0 {
		t.Errorf("got %d lost, %d broken; want none: the network was fine", res.Lost, res.Broken)
	}
	between(t, "gap", res.LongestGapMs, 280, 5000)
	// The gap is the machine's: jitter explains it, for TCP too.
	between(t, "jitter", res.JitterMs, res.LongestGapMs-100, 5000)
	tcp := res.mustStream(t, longTCP)
	between(t, "tcp stall", tcp.TCPStallMs, 280, 2*tcp.JitterMs+200)
	between(t, "skipped", res.Skipped, 4*150, 4*5000)
}

func TestUsageErrors(t *testing.T) {
	known := map[string]Endpoint{"a": {}, "b": {}}
	cases := map[string]struct {
		args []string
		want string
	}{
		"no command":       {[]string{"a", "b"}, `no command: put it after "--"`},
		"empty command":    {[]string{"a", "b", "--"}, `no command: put it after "--"`},
		"one end":          {[]string{"a", "--", "true"}, "want FROM and TO"},
		"unknown end":      {[]string{"a", "c", "--", "true"}, "find c: no such pod or node"},
		"bad nodeport":     {[]string{"a", "nodeport:a", "--", "true"}, "want nodeport:NODE:POD"},
		"no client":        {[]string{"nodeport:a:b", "--", "true"}, "find client: no such pod or node"},
		"two nodeports":    {[]string{"nodeport:a:b", "nodeport:a:b", "--", "true"}, "find nodeport:a:b: no such pod or node"},
		"bad size":         {[]string{"a", "b", "--size", "7", "--", "true"}, `size "7": want max or a number of bytes from 24 to 65507`},
		"bad rate":         {[]string{"a", "b", "--rate", "0", "--", "true"}, "rate 0: want 1 to 10000 packets per second"},
		"nothing resolved": {[]string{"a", "b", "--", "true"}, "an endpoint has no name"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			cmd := NewCommand(resolver(known))
			cmd.SetArgs(c.args)
			cmd.SilenceErrors = true
			cmd.SetOut(&bytes.Buffer{})
			cmd.SetErr(&bytes.Buffer{})
			err := cmd.Execute()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want %q", err, c.want)
			}
		})
	}
}

func TestTargets(t *testing.T) {
	known := map[string]Endpoint{Client: {Name: "client"}, "n1": {Name: "n1"}, "p": {Name: "p"}, "q": {Name: "q"}}
	cases := map[string]struct {
		args           []string
		from, to, node string
	}{
		"pods":              {[]string{"p", "q"}, "p", "q", ""},
		"nodeport alone":    {[]string{"nodeport:n1:p"}, "client", "p", "n1"},
		"nodeport second":   {[]string{"q", "nodeport:n1:p"}, "q", "p", "n1"},
		"nodeport in front": {[]string{"nodeport:n1:p", "q"}, "q", "p", "n1"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var o Options
			if err := setTargets(&o, c.args, resolver(known)); err != nil {
				t.Fatal(err)
			}
			got := [3]string{o.From.Name, o.To.Name, ""}
			if o.NodePort != nil {
				got[2] = o.NodePort.Node.Name
			}
			if diff := cmp.Diff([3]string{c.from, c.to, c.node}, got); diff != "" {
				t.Errorf("from, to, node (-want +got):\n%s", diff)
			}
		})
	}
}
