package rollout

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/test/lab"
)

// patience bounds every wait for something that is to happen by itself. It is generous: machines are shared, and what takes
// long shows in the figures.
const patience = 90 * time.Second

// World is a lab that is up, with a pod p<i> on every node n<i>; n1 and n2 share a segment, n3, if there is one, is behind the
// router.
type World struct {
	Lab *lab.Cluster
	API client.WithWatch
	// Say takes progress. Required.
	Say func(format string, args ...any)
}

// New returns the world of a lab that is up.
func New(l *lab.Cluster, say func(format string, args ...any)) (*World, error) {
	api, err := l.Client()
	if err != nil {
		return nil, err
	}
	return &World{Lab: l, API: api, Say: say}, nil
}

// nodes are the names of all nodes.
func (w *World) nodes() ([]string, error) {
	list, err := w.Lab.Nodes()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, n := range list {
		out = append(out, n.Name)
	}
	return out, nil
}

// within waits until done says so, for as long as patience lasts.
func (w *World) within(ctx context.Context, desc string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return w.Lab.Wait(ctx, desc, done)
}

// sh runs a shell command in a node, a pod or another place of the lab.
func (w *World) sh(ctx context.Context, place, script string) (string, error) {
	return w.Lab.Exec(ctx, place, "sh", "-c", script)
}

// Reaches waits until one place reaches a pod.
func (w *World) Reaches(ctx context.Context, from, pod string) error {
	ip, err := w.Lab.PodIP(pod)
	if err != nil {
		return err
	}
	return w.within(ctx, from+" to reach "+pod, func() (bool, error) {
		_, err := w.Lab.Exec(ctx, from, "ping", "-c", "1", "-W", "1", ip.String())
		return err == nil, err
	})
}

// Plug makes a pod on a node, replacing one of that name.
func (w *World) Plug(ctx context.Context, pod, node string) error {
	return w.within(ctx, "a pod on "+node, func() (bool, error) {
		if err := w.Lab.DelPod(ctx, pod); err != nil {
			return false, err
		}
		_, err := w.Lab.AddPod(ctx, lab.PodSpec{Name: pod, Node: node})
		return err == nil, err
	})
}

// after runs undo when a scenario is over, also after an interrupt, and adds what goes wrong to err.
func after(ctx context.Context, err *error, undo func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	*err = errors.Join(*err, undo(ctx))
}

// lines splits text into its lines without those that are empty.
func lines(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

// deviceOf returns the device that a node sends packets to a pod by.
func (w *World) deviceOf(ctx context.Context, node, pod string) (string, error) {
	ip, err := w.Lab.PodIP(pod)
	if err != nil {
		return "", err
	}
	out, err := w.Lab.Exec(ctx, node, "ip", "-o", "route", "get", ip.String())
	if err != nil {
		return "", err
	}
	fields := strings.Fields(out)
	for i, f := range fields[:max(0, len(fields)-1)] {
		if f == "dev" {
			return fields[i+1], nil
		}
	}
	return "", fmt.Errorf("no device in %q", out)
}
