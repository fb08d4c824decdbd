package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// countAPI starts to count a node's packets from and to the API server; in the lab nothing but its agent has any.
func (l *benchmarkLab) countAPI(ctx context.Context, node string) error {
	_, err := l.Exec(ctx, node, "nft", `
table inet bench {
  counter received { }
  counter sent { }
  chain input { type filter hook input priority -400; ip saddr 172.30.0.10 tcp sport 6443 counter name received; }
  chain output { type filter hook output priority -400; ip daddr 172.30.0.10 tcp dport 6443 counter name sent; }
}`)
	return err
}

// forgetAPI removes the counters.
func (l *benchmarkLab) forgetAPI(ctx context.Context, node string) {
	if _, err := l.Exec(context.WithoutCancel(ctx), node, "nft", "delete", "table", "inet", "bench"); err != nil {
		say("  remove the counters: %v", err)
	}
}

// counter reads one of the node's counters, "received" or "sent", in bytes.
func (l *benchmarkLab) counter(ctx context.Context, node, name string) (uint64, error) {
	out, err := l.Exec(ctx, node, "nft", "list", "counter", "inet", "bench", name)
	if err != nil {
		return 0, err
	}
	_, rest, found := strings.Cut(out, "bytes ")
	fields := strings.Fields(rest)
	if !found || len(fields) == 0 {
		return 0, fmt.Errorf("read counter %s: %q", name, out)
	}
	return strconv.ParseUint(fields[0], 10, 64)
}

// untilReady asks /readyz without pause, as nobody else would.
func (l *benchmarkLab) untilReady(ctx context.Context, node string) error {
	web, err := l.web(node)
	if err != nil {
		return err
	}
	deadline := time.Now().Add(clusterTimeout)
	for ctx.Err() == nil && time.Now().Before(deadline) {
		resp, err := web.Get("http://127.0.0.1:10473/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == 200 {
				return nil
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	return fmt.Errorf("the agent of %s did not become ready", node)
}

// cpuTime is what all threads of a process have used, to the nanosecond, where /proc/PID/stat counts ticks of 10 ms.
func cpuTime(pid int) (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return 0, err
	}
	var total time.Duration
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		ns, _, _ := strings.Cut(string(text), " ")
		n, err := strconv.ParseInt(ns, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", file, err)
		}
		total += time.Duration(n)
	}
	if total == 0 {
		return 0, fmt.Errorf("process %d has used no time: it is gone, or the kernel does not count", pid)
	}
	return total, nil
}
