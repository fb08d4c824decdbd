package lab

import (
	"context"
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/test/lab/internal/machine"
	"github.com/hopsack-net/hopsack/test/lab/internal/ns"
	"github.com/hopsack-net/hopsack/test/lab/internal/proc"
)

// Down ends every process of the lab and removes its namespaces and its state; the logs stay. It needs nothing to be in
// order: half a lab, one that crashed and none at all are fine. It goes on after a failure and reports all of them.
func (c *Cluster) Down(ctx context.Context) error {
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.checkOwner(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	processes, err := c.endAll(ctx)
	errs := []error{err, removeAllCgroups(ctx)}
	names, err := labNamespaces()
	errs = append(errs, err)
	for _, name := range names {
		errs = append(errs, ns.Delete(ns.Path(name)))
	}
	if err := errors.Join(errs...); err != nil {
		// The records stay, so that the next `lab down` still knows what to end.
		return err
	}
	if len(processes) > 0 || len(names) > 0 {
		c.say("down: %d processes ended, %d network namespaces removed", len(processes), len(names))
	} else {
		c.say("down: nothing was up")
	}
	return errors.Join(c.removeState(), os.RemoveAll(runDir))
}

// endAll ends every recorded process and returns the names of those that ran. The machines go first: each takes along all
// that runs in its PID namespace, recorded or not.
func (c *Cluster) endAll(ctx context.Context) ([]string, error) {
	records, err := c.procs.List()
	errs := []error{err}
	var ended []string
	for _, r := range records {
		if r.Alive() {
			ended = append(ended, r.Name)
		}
	}
	for _, r := range records {
		if strings.HasPrefix(r.Name, machine.Spec{}.RecordName()) {
			errs = append(errs, r.Signal(unix.SIGKILL))
		}
	}
	for _, r := range records {
		errs = append(errs, r.End(ctx, unix.SIGKILL))
	}
	return ended, errors.Join(errs...)
}

// removeState removes what Up and its friends keep in the state directory, but not the logs.
func (c *Cluster) removeState() error {
	var errs []error
	for _, name := range []string{"lab.json", "kubeconfig", "pki", "etcd", "nodes", "pods", "credentials", "manifests", "delays"} {
		errs = append(errs, os.RemoveAll(c.path(name)))
	}
	return errors.Join(errs...)
}

func isGone(err error) bool { return errors.Is(err, proc.ErrGone) }
