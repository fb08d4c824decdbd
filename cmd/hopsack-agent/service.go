package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/hopsack-net/hopsack/internal/sdnotify"
	nodeagent "github.com/hopsack-net/hopsack/node-agent"
)

// run runs the agent, and tells systemd how it does where systemd started it.
func (o *options) run(ctx context.Context, agent *nodeagent.Agent) error {
	ctx, stop := context.WithCancel(ctx)
	told := make(chan struct{})
	go func() {
		defer close(told)
		if err := sdnotify.Serve(ctx, o.alive); err != nil {
			// The agent does its work all the same, until systemd loses patience.
			o.log().Error(err, "Cannot tell systemd how the agent does")
		}
	}()
	err := agent.Run(ctx)
	stop()
	<-told
	return err
}

// alive asks the agent's own health check: it answers from the moment the agent works, with or without an API server, and
// fails when a pass hangs. Without a health address, running is all there is to know.
func (o *options) alive(ctx context.Context) error {
	if o.healthAddress == "" || o.healthAddress == "0" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+o.healthAddress+"/healthz", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("health check says %s", response.Status)
	}
	return nil
}
