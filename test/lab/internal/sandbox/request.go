package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"

	"github.com/hopsack-net/hopsack/test/lab/internal/ns"
)

// Command is the hidden subcommand of the helper program that answers one request inside a node; it calls Serve.
const Command = "run-sandbox"

// The operations of a Request.
const (
	OpAdd   = "add"
	OpDel   = "del"
	OpCheck = "check"
)

// PortMapping publishes a pod's port on its node.
type PortMapping struct {
	// HostPort is the port on the node.
	HostPort int `json:"hostPort"`
	// ContainerPort is the port in the pod.
	ContainerPort int `json:"containerPort"`
	// Protocol is "tcp" or "udp".
	Protocol string `json:"protocol"`
}

// Request asks for one operation on one pod.
type Request struct {
	// Op is OpAdd, OpDel or OpCheck.
	Op string `json:"op"`
	// Namespace and Name are the pod's.
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// ContainerID is the sandbox's, unique per pod life.
	ContainerID string `json:"containerID"`
	// HostPorts are published through the portMappings capability.
	HostPorts []PortMapping `json:"hostPorts,omitempty"`
}

// Reply is the answer to a Request.
type Reply struct {
	// Network is the name of the CNI network that was used.
	Network string `json:"network,omitempty"`
	// IPs are the pod's addresses, for OpAdd.
	IPs []netip.Addr `json:"ips,omitempty"`
	// Result is the CNI result as the last plugin printed it, for OpAdd.
	Result json.RawMessage `json:"result,omitempty"`
	// Error is empty on success.
	Error string `json:"error,omitempty"`
	// Retry says that a kubelet would try again: the node has no network yet, or a plugin asked for it.
	Retry bool `json:"retry,omitempty"`
}

// Error is a request that the node refused.
type Error struct {
	// Message says what went wrong.
	Message string
	// Retry says that trying again later makes sense.
	Retry bool
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// NetNS is the path of a pod's network namespace as its node sees it.
func NetNS(pod string) string { return ns.Path(pod) }

// Call runs helper in place, a node, to answer req. A refusal by the node is an *Error.
func Call(ctx context.Context, helper string, place ns.Place, req Request) (Reply, error) {
	var reply Reply
	in, err := json.Marshal(req)
	if err != nil {
		return reply, err
	}
	var out, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, helper, Command)
	cmd.Dir = "/"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &stderr
	if err := place.Start(cmd); err != nil {
		return reply, fmt.Errorf("start %s: %w", Command, err)
	}
	if err := cmd.Wait(); err != nil {
		return reply, errors.Join(fmt.Errorf("%s %s: %w: %s", req.Op, req.Name, err, strings.TrimSpace(stderr.String())), ctx.Err())
	}
	if err := json.Unmarshal(out.Bytes(), &reply); err != nil {
		return reply, fmt.Errorf("%s %s: read answer: %w", req.Op, req.Name, err)
	}
	if reply.Error != "" {
		return reply, &Error{Message: reply.Error, Retry: reply.Retry}
	}
	return reply, nil
}
