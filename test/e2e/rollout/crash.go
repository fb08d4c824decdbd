package rollout

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/test/lab"
	"github.com/hopsack-net/hopsack/test/lab/loss"
)

// Storm is what came of many crashes in the middle of rollouts.
type Storm struct {
	Name string `json:"name"`
	// Crashes is how often it happened; every one of the rollouts has ended.
	Crashes int `json:"crashes"`
	// SlowestMs is the longest time from kubectl's start until Ready.
	SlowestMs float64 `json:"slowestMs"`
	Figures
	Loss Loss `json:"-"`
}

// chunk is how many crashes one measurement spans: the connection tables have room for so long.
const chunk = 4

// stormChanges are gone through again and again. The data path of udp is the agent itself: a crash of it would lose packets.
func stormChanges(withUDP bool) []Change {
	out := []Change{vni7, onLink, vxlan, verified}
	if withUDP {
		out = []Change{vni7, udp, onLink, vxlan, verified, udp}
	}
	return out
}

// at is a random moment of a rollout: most of them take less than a second.
func at() time.Duration { return rand.N(1200 * time.Millisecond) }

// KillControllers kills the controller, times times, each at a random moment of another rollout, and starts it again.
func (w *World) KillControllers(ctx context.Context, times int) (Storm, error) {
	return w.storm(ctx, "controller killed", times, stormChanges(true), func(ctx context.Context) error {
		return w.restart(ctx, lab.Controller)
	})
}

// KillAgents kills the agent of a random node, times times, each at a random moment of another rollout, and starts it again.
func (w *World) KillAgents(ctx context.Context, times int) (Storm, error) {
	return w.storm(ctx, "agent killed", times, stormChanges(false), func(ctx context.Context) error {
		nodes, err := w.nodes()
		if err != nil {
			return err
		}
		return w.restart(ctx, lab.Agent(nodes[rand.IntN(len(nodes))]))
	})
}

func (w *World) restart(ctx context.Context, component string) error {
	if err := w.Lab.Kill(ctx, component); err != nil {
		return err
	}
	return w.Lab.Start(ctx, component)
}

// storm runs rollouts with a crash in each, and sees that nothing is left over.
func (w *World) storm(ctx context.Context, name string, times int, changes []Change, crash func(context.Context) error) (out Storm, err error) {
	out.Name = name
	before, err := w.AtRest(ctx)
	if err != nil {
		return out, err
	}
	defer after(ctx, &err, func(ctx context.Context) error {
		_, err := w.Settle(ctx, vxlan)
		return err
	})
	for out.Crashes < times {
		// Small packets and full ones by turns.
		size := []int{loss.DefaultSize, loss.SizeMax}[(out.Crashes/chunk)%2]
		l, err := w.Measure(ctx, Of(size, SameSegment, Routed), func(ctx context.Context) error {
			for range min(chunk, times-out.Crashes) {
				took, err := w.crashDuring(ctx, changes[out.Crashes%len(changes)], crash)
				if err != nil {
					return fmt.Errorf("%s %d: %w", name, out.Crashes+1, err)
				}
				out.Crashes++
				out.SlowestMs = max(out.SlowestMs, took)
			}
			return nil
		})
		out.Loss.Add(l)
		out.Figures = out.Loss.Figures
		if err != nil {
			return out, err
		}
		w.Say("%s: %d of %d, lost %d of %d", name, out.Crashes, times, out.Lost, out.Sent)
	}
	if _, err := w.Settle(ctx, vxlan); err != nil {
		return out, err
	}
	return out, w.LeavesNothing(ctx, before)
}

// crashDuring rolls a change out and has something crash meanwhile. It returns how long the rollout took.
func (w *World) crashDuring(ctx context.Context, c Change, crash func(context.Context) error) (tookMs float64, err error) {
	done := make(chan error, 1)
	go func() {
		if err := w.pause(ctx, at()); err != nil {
			done <- err
			return
		}
		done <- crash(ctx)
	}()
	t, err := w.Settle(ctx, c)
	return t.TotalMs, errors.Join(err, <-done)
}

// PauseLeaders has two controllers, stops the one that is elected at a random moment of a rollout, waits until the other one has
// taken over and finished, and wakes the first: it must not do harm. It does so times times.
func (w *World) PauseLeaders(ctx context.Context, times int) (out Storm, err error) {
	out.Name = "leader paused past its lease"
	before, err := w.AtRest(ctx)
	if err != nil {
		return out, err
	}
	defer after(ctx, &err, func(ctx context.Context) error {
		_ = w.Lab.Resume(ctx, lab.Controller) // one that lost its lease has ended
		err := w.Lab.Start(ctx, lab.Controller)
		_, settleErr := w.Settle(ctx, vxlan)
		return errors.Join(err, settleErr)
	})
	changes := stormChanges(true)
	for out.Crashes < times {
		l, err := w.Measure(ctx, Of(loss.DefaultSize, SameSegment), func(ctx context.Context) error {
			took, err := w.pauseLeader(ctx, changes[out.Crashes%len(changes)])
			out.SlowestMs = max(out.SlowestMs, took)
			return err
		})
		out.Loss.Add(l)
		out.Figures = out.Loss.Figures
		if err != nil {
			return out, fmt.Errorf("%s %d: %w", out.Name, out.Crashes+1, err)
		}
		out.Crashes++
		w.Say("%s: %d of %d, lost %d of %d", out.Name, out.Crashes, times, out.Lost, out.Sent)
	}
	if _, err := w.Settle(ctx, vxlan); err != nil {
		return out, err
	}
	return out, w.LeavesNothing(ctx, before)
}

// pauseLeader is one round: the lab's controller leads and sleeps, a rival takes over, and leaves at the end.
func (w *World) pauseLeader(ctx context.Context, c Change) (tookMs float64, err error) {
	leader, err := w.leader(ctx)
	if err != nil {
		return 0, err
	}
	rival, err := w.startRival(ctx)
	if err != nil {
		return 0, err
	}
	defer func() {
		_ = rival.Process.Signal(os.Interrupt)
		_ = rival.Wait()
	}()
	// Until it has seen the Lease, it could not know that it may take it.
	if err := w.pause(ctx, 3*time.Second); err != nil {
		return 0, err
	}
	tookMs, err = w.crashDuring(ctx, c, func(ctx context.Context) error {
		if err := w.Lab.Pause(ctx, lab.Controller); err != nil {
			return err
		}
		return w.within(ctx, "the rival to be elected", func() (bool, error) {
			now, err := w.leader(ctx)
			return err == nil && now != leader && now != "", err
		})
	})
	if err != nil {
		return tookMs, err
	}
	// The one that wakes up has a write in its hands, at times.
	if err := w.Lab.Resume(ctx, lab.Controller); err != nil {
		return tookMs, err
	}
	if err := w.pause(ctx, 2*time.Second); err != nil {
		return tookMs, err
	}
	cfg, err := w.Config(ctx)
	if err == nil {
		err = settled(&cfg, cfg.Generation)
	}
	if err != nil {
		return tookMs, fmt.Errorf("after the first controller woke up: %w", err)
	}
	if err := w.takesEffect(ctx, c); err != nil {
		return tookMs, err
	}
	return tookMs, w.handBack(ctx, rival)
}

// handBack ends the rival and waits until the lab's controller is elected again.
func (w *World) handBack(ctx context.Context, rival *exec.Cmd) error {
	was, err := w.leader(ctx)
	if err != nil {
		return err
	}
	if err := w.Lab.Start(ctx, lab.Controller); err != nil {
		return err
	}
	if err := rival.Process.Signal(os.Interrupt); err != nil {
		return fmt.Errorf("end the rival: %w", err)
	}
	return w.within(ctx, "the lab's controller to be elected", func() (bool, error) {
		now, err := w.leader(ctx)
		return err == nil && now != was && now != "", err
	})
}

// leader is the identity of the controller that is elected.
func (w *World) leader(ctx context.Context) (string, error) {
	var lease coordinationv1.Lease
	if err := w.API.Get(ctx, client.ObjectKey{Namespace: "hopsack-system", Name: "hopsack-controller"}, &lease); err != nil {
		return "", fmt.Errorf("read the election's lease: %w", err)
	}
	if lease.Spec.HolderIdentity == nil {
		return "", nil
	}
	return *lease.Spec.HolderIdentity, nil
}

// startRival starts a second controller beside the lab's. It ends with the lab at the latest.
func (w *World) startRival(ctx context.Context) (*exec.Cmd, error) {
	pid, err := w.Lab.PID(lab.Controller)
	if err != nil {
		return nil, err
	}
	program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return nil, fmt.Errorf("find the controller's program: %w", err)
	}
	cmd := exec.CommandContext(ctx, program, "--kubeconfig="+w.Lab.Credentials(lab.Controller), "--metrics-bind-address=0", "--health-probe-bind-address=0")
	log, err := os.OpenFile(w.Lab.LogPath("rival"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := w.Lab.StartIn("cp", cmd); err != nil {
		return nil, fmt.Errorf("start a second controller: %w", err)
	}
	return cmd, nil
}
