package main

import (
	"strings"
	"testing"
)

func TestKubeletFlagsAreRefusedWhereTheyMeanNothing(t *testing.T) {
	for line, want := range map[string]string{
		"up --kube-proxy iptables":               "--kube-proxy needs --kubelet",
		"up --image a.tar":                       "--image needs --kubelet",
		"up --allocate-node-cidrs":               "--allocate-node-cidrs needs --kubelet",
		"up --kubelet --config c.yaml":           "--config: with --kubelet",
		"up --kubelet --agent-arg=-v=1":          "--agent-arg: with --kubelet",
		"up --kubelet --cluster-cidr 10.244.0.0": "--cluster-cidr: ",
	} {
		t.Run(line, func(t *testing.T) {
			cmd := newCommand()
			cmd.SetArgs(append([]string{"--dir", t.TempDir()}, strings.Fields(line)...))
			if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
}
