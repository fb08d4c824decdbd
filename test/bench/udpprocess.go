package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/node-agent/desired"
	"github.com/hopsack-net/hopsack/node-agent/udp"
	"github.com/hopsack-net/hopsack/test/lab"
)

// tunnelProcess is one node's side of the udp backend. It has a process of its own, as the agent is one: within the sender's or
// the receiver's, all would wait for the same scheduler.
type tunnelProcess struct {
	cmd  *exec.Cmd
	stop io.Closer
}

// tunnelReady is what the process says once packets flow.
const tunnelReady = "ready\n"

// startTunnel starts the process for node i. It must be called by the main goroutine, with whose thread the process dies.
func (w *udpWorld) startTunnel(i int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "-tunnel", fmt.Sprintf("%s:%d:%s", w.name, i, w.nodes[i].path()))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start tunnel: %w", err)
	}
	w.tunnels = append(w.tunnels, &tunnelProcess{cmd: cmd, stop: stdin})
	if said, err := bufio.NewReader(stdout).ReadString('\n'); said != tunnelReady {
		return errors.Join(err, fmt.Errorf("tunnel says %q, want %q", said, tunnelReady))
	}
	return nil
}

// end has the process end, and waits for it.
func (p *tunnelProcess) end() {
	_ = p.stop.Close()
	if err := p.cmd.Wait(); err != nil {
		say("  end the tunnel: %v", err)
	}
}

// cpu is what the process has used.
func (p *tunnelProcess) cpu() time.Duration {
	used, err := cpuTime(p.cmd.Process.Pid)
	if err != nil {
		say("  read the tunnel's CPU time: %v", err)
	}
	return used
}

// runTunnel is that process: it works until its standard input ends.
func runTunnel(what string) error {
	fields := strings.SplitN(what, ":", 3)
	if len(fields) != 3 {
		return fmt.Errorf("tunnel %q, want WORLD:INDEX:NAMESPACE", what)
	}
	i, err := strconv.Atoi(fields[1])
	if err != nil {
		return err
	}
	tunnels := udp.New(logr.Discard())
	err = lab.WithNetNS(fields[2], func() error {
		if fields[0] == libraryWorld {
			return libraryTunnel(netip.AddrPortFrom(nodeAddr(other(i)+1), udpPort))
		}
		return tunnels.Set([]desired.UDPTunnel{{
			Device: udpDevice, Port: udpPort, Local: nodeAddr(i + 1), MTU: underlayMTU - udpOverhead,
			Peers: []desired.UDPPeer{{Subnet: nodeSubnet(other(i) + 1), Remote: nodeAddr(other(i) + 1)}},
		}})
	})
	if err != nil {
		return err
	}
	if _, err := os.Stdout.WriteString(tunnelReady); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, tunnels.Close())
}
