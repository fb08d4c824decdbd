package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hopsack-net/hopsack/test/lab"
)

// cluster is the lab all tests share: n1 and n2 on one segment, n3 behind a router; pods p1 on n1, p2 on n2, p3 on n3.
var cluster *lab.Cluster

var (
	nodes = []string{"n1", "n2", "n3"}
	pods  = map[string]string{"p1": "n1", "p2": "n2", "p3": "n3"}
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	dir, err := os.MkdirTemp("", "hopsack-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if cluster, err = lab.OpenConfig(lab.Config{Dir: dir}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	defer func() {
		if code != 0 {
			printLogs()
		}
		if err := cluster.Down(context.WithoutCancel(ctx)); err != nil {
			fmt.Fprintln(os.Stderr, "down:", err)
			code = 1
		}
	}()
	if err := up(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// up builds the cluster, the network and the pods.
func up(ctx context.Context) error {
	if err := cluster.Up(ctx, lab.Options{Nodes: 3, Routed: 1, ConfigFile: sample("networkconfig.yaml")}); err != nil {
		return err
	}
	for pod, node := range pods {
		if _, err := cluster.AddPod(ctx, lab.PodSpec{Name: pod, Node: node, Wait: deadline}); err != nil {
			return err
		}
	}
	return nil
}

// sample is the path of one of the samples users start from.
func sample(name string) string { return filepath.Join("..", "..", "config", "samples", name) }

// printLogs prints the end of every program's log: the lab is gone when a person comes to look.
func printLogs() {
	components := []string{"controller"}
	for _, n := range nodes {
		components = append(components, lab.Agent(n))
	}
	for _, c := range components {
		data, err := os.ReadFile(cluster.LogPath(c))
		if err != nil {
			continue
		}
		const keep = 4000
		if len(data) > keep {
			data = data[len(data)-keep:]
		}
		fmt.Fprintf(os.Stderr, "--- %s\n%s\n", c, data)
	}
}
