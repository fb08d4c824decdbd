package docs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hopsack-net/hopsack/test/docs"
	"github.com/hopsack-net/hopsack/test/kubelet/cluster"
)

const (
	// patience bounds a command, and how long one that only looks is asked again until it shows what the page shows.
	patience = 2 * time.Minute
	// again is the pause between two looks.
	again = time.Second
)

// TestCommands runs everything, in the order of docs.Order.
func TestCommands(t *testing.T) {
	root, err := cluster.FindRoot()
	if err != nil {
		t.Fatal(err)
	}
	tryOut(t, root)
	c := cluster.ForTest(t, cluster.Options{})
	u := newUser(t, c)
	for _, page := range docs.Order {
		blocks, err := docs.Read(root, page)
		if err != nil {
			t.Fatal(err)
		}
		ok := t.Run(page, func(t *testing.T) {
			started := time.Now()
			for _, b := range blocks {
				if started := time.Now(); !labOnly(b) {
					u.run(t, b)
					t.Logf("line %d: %.1f s", b.Line, time.Since(started).Seconds())
				}
			}
			t.Logf("%d blocks: %.1f s", len(blocks), time.Since(started).Seconds())
		})
		if !ok {
			t.FailNow() // what follows builds on it
		}
	}
}

// run brings the situation of a block about, runs its commands, and ends the situation.
func (u *user) run(t *testing.T, b docs.Block) {
	t.Helper()
	ctx := t.Context()
	situation, ok := situations[b.With]
	if !ok {
		t.Fatalf("%s:%d: situation %q is not known", b.Page, b.Line, b.With)
	}
	if err := u.situate(ctx, situation.begin); err != nil {
		t.Fatalf("%s:%d: begin %q: %v", b.Page, b.Line, b.With, err)
	}
	places := []string{b.On}
	if b.On == docs.EveryNode {
		places = []string{"n1", "n2", "n3"}
	}
	for _, place := range places {
		for _, command := range b.Commands {
			if docs.IsRun(command) {
				u.try(t, b, place, command)
			}
		}
	}
	if err := u.situate(ctx, situation.end); err != nil {
		t.Fatalf("%s:%d: end %q: %v", b.Page, b.Line, b.With, err)
	}
}

// try runs a command. One that only looks is run again while it does not show what the page shows: what it looks at takes a
// moment.
func (u *user) try(t *testing.T, b docs.Block, place string, command docs.Command) {
	t.Helper()
	fails := command.Fails() || slices.Contains(docs.Fails, command.Key())
	deadline := time.Now().Add(patience)
	for {
		printed, err := u.exec(t.Context(), place, command.Text)
		var exit *exec.ExitError
		var wrong error
		switch missing := docs.Missing(command.Output, printed); {
		case err != nil && (!fails || !errors.As(err, &exit)):
			wrong = err
		case err == nil && fails:
			wrong = errors.New("it should have ended with an error")
		case len(missing) > 0:
			wrong = fmt.Errorf("the page shows lines that it did not print:\n%s", strings.Join(missing, "\n"))
		default:
			return
		}
		if !onlyLooks(command) || time.Now().After(deadline) {
			t.Fatalf("%s:%d: %s\n%v\nIt printed:\n%s", b.Page, command.Line, command.Text, wrong, printed)
		}
		time.Sleep(again)
	}
}

// onlyLooks says whether a command can be repeated without changing anything.
func onlyLooks(c docs.Command) bool {
	for _, prefix := range []string{
		"kubectl get ", "kubectl hopsack status", "kubectl hopsack check", "kubectl hopsack trace", "kubectl hopsack rollout status", "hopsack-agent status",
		"kubectl apply -f config/samples/", // the API server takes a moment to serve kinds that are new
	} {
		if strings.HasPrefix(c.Text, prefix) {
			return true
		}
	}
	return false
}

// exec runs a shell command as the user does, and returns what a terminal would show.
func (u *user) exec(ctx context.Context, place, command string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	// Addresses of the pages are those that RFC 5737 sets aside.
	command = strings.ReplaceAll(command, "192.0.2.10", "172.30.0.10")
	cmd := exec.CommandContext(ctx, "bash", "-e", "-o", "pipefail", "-c", "cd "+u.dir+"\n"+command)
	cmd.Env = append(cmd.Environ(), "PATH="+u.path, "HOME="+u.dir)
	cmd.WaitDelay = 5 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if place == "" {
		place = "cp"
		cmd.Env = append(cmd.Env, "KUBECONFIG="+u.cluster.KubeconfigPath())
	}
	if err := u.cluster.StartIn(place, cmd); err != nil {
		return "", err
	}
	err := cmd.Wait()
	return out.String(), err
}
