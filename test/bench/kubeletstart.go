package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/hopsack-net/hopsack/test/kubelet/cluster"
	"github.com/hopsack-net/hopsack/test/kubelet/load"
)

// kubeletStart is the one line of the case: seconds of every stage, once per way of installing, and how many questions between
// pods, to Services and to NodePorts were answered afterwards.
type kubeletStart struct {
	Bench     string     `json:"bench"`
	Nodes     int        `json:"nodes"`
	Helm      startedWay `json:"helm"`
	Kustomize startedWay `json:"kustomize"`
}

type startedWay struct {
	Stages *stages `json:"stages_s"`
	Total  float64 `json:"total_s"`
	// Reached are questions answered, by their sort.
	Reached map[string]int `json:"reached"`
}

func benchKubeletStart(ctx context.Context, _ settings) error {
	out := kubeletStart{Bench: "kubelet-start", Nodes: 3}
	helm := func(ctx context.Context, c *cluster.Cluster) error {
		_, err := c.Helm(ctx, "install", "hopsack", "charts/hopsack", "--namespace", "hopsack-system", "--create-namespace")
		return err
	}
	kustomize := func(ctx context.Context, c *cluster.Cluster) error { return c.Install(ctx, "") }
	var err error
	if out.Helm, err = startFromNothing(ctx, helm); err != nil {
		return fmt.Errorf("with helm: %w", err)
	}
	if out.Kustomize, err = startFromNothing(ctx, kustomize); err != nil {
		return fmt.Errorf("with kustomize: %w", err)
	}
	return emit(out)
}

// startFromNothing brings a cluster from nothing to a Deployment that is asked from everywhere.
func startFromNothing(ctx context.Context, install func(context.Context, *cluster.Cluster) error) (out startedWay, err error) {
	out.Stages = newStages()
	begin := out.Stages.last
	c, err := startKubelets(ctx)
	if err != nil {
		return out, err
	}
	defer func() {
		if err != nil {
			say("%s", c.Describe(ctx))
		}
		err = errors.Join(err, c.Down(ctx))
	}()
	out.Stages.reached("nodesRegistered")
	if err := install(ctx, c); err != nil {
		return out, err
	}
	out.Stages.reached("installed")
	if err := c.ApplyFile(ctx, c.Sample("networkconfig.yaml")); err != nil {
		return out, err
	}
	for _, stage := range []struct {
		name string
		args []string
	}{
		{"agentsReady", []string{"rollout", "status", "-n", "hopsack-system", "ds/hopsack-agent", "--timeout=2m"}},
		{"nodesReady", []string{"wait", "--for=condition=Ready", "node", "--all", "--timeout=2m"}},
		{"coreDNSReady", []string{"rollout", "status", "-n", "kube-system", "deploy/coredns", "--timeout=2m"}},
	} {
		if _, err := c.Kubectl(ctx, stage.args...); err != nil {
			return out, err
		}
		out.Stages.reached(stage.name)
	}
	svc, err := load.Deploy(ctx, c, "web", 3, "n1", "n2", "n3")
	if err != nil {
		return out, err
	}
	out.Stages.reached("deploymentReady")
	out.Total = round(out.Stages.last.Sub(begin).Seconds(), 1)
	out.Reached, err = reachAll(ctx, c, svc)
	return out, err
}

// reachAll asks every pod from every pod and every node, the Service by its address and its name, and its port on every node from
// outside. Each question has to be answered.
func reachAll(ctx context.Context, c *cluster.Cluster, svc load.Service) (map[string]int, error) {
	if err := threePods(ctx, c); err != nil {
		return nil, err
	}
	reached := map[string]int{}
	ask := func(sort, from, url string) error {
		return c.Soon(ctx, from+" to have an answer of "+url, func() (bool, error) {
			_, err := c.Get(ctx, from, url)
			if err == nil {
				reached[sort]++
			}
			return err == nil, err
		})
	}
	var errs []error
	for i := range 3 {
		pod, node := fmt.Sprintf("p%d", i+1), fmt.Sprintf("n%d", i+1)
		ip, err := c.PodIP(pod)
		if err != nil {
			return nil, err
		}
		addrs, err := c.Addrs(node)
		if err != nil {
			return nil, err
		}
		for j := range 3 {
			errs = append(errs,
				ask("podToPod", fmt.Sprintf("p%d", j+1), fmt.Sprintf("http://%s:8080/hostname", ip)),
				ask("nodeToPod", fmt.Sprintf("n%d", j+1), fmt.Sprintf("http://%s:8080/hostname", ip)))
		}
		service := fmt.Sprintf("http://%s/hostname", svc.ClusterIP)
		errs = append(errs, ask("podToService", pod, service), ask("nodeToService", node, service),
			ask("outsideToNodePort", "client", fmt.Sprintf("http://%s:%d/hostname", addrs[0], svc.NodePort)))
		if err := askByName(ctx, c, ip.String(), svc.Name); err != nil {
			return nil, fmt.Errorf("%s: %w", pod, err)
		}
		reached["podToName"]++
	}
	return reached, errors.Join(errs...)
}

// askByName has a pod ask a Service by its name.
func askByName(ctx context.Context, c *cluster.Cluster, pod, service string) error {
	name := service + ".default.svc.cluster.local"
	query := url.Values{"host": {name}, "port": {"80"}, "protocol": {"http"}, "request": {"hostname"}, "tries": {"1"}}
	return c.Soon(ctx, "an answer of "+name, func() (bool, error) {
		text, err := c.Get(ctx, "n1", fmt.Sprintf("http://%s:8080/dial?%s", pod, query.Encode()))
		if err != nil {
			return false, err
		}
		var said struct{ Responses, Errors []string }
		if err := json.Unmarshal([]byte(text), &said); err != nil {
			return false, fmt.Errorf("read %q: %w", text, err)
		}
		if len(said.Responses) != 1 || !strings.HasPrefix(said.Responses[0], service+"-") {
			return false, fmt.Errorf("answers %q, errors %q", said.Responses, said.Errors)
		}
		return true, nil
	})
}
