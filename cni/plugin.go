package cni

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
)

// The reference plugins the work is delegated to, as their binaries are called.
const (
	bridgePlugin = "bridge"
	ipamPlugin   = "host-local"
)

// SupportedVersions are the versions of the CNI specification the plugin speaks: all that runtimes still use. CHECK came
// with 0.4.0, STATUS and GC with 1.1.0.
func SupportedVersions() version.PluginInfo {
	return version.PluginSupports("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
}

// Plugin answers the CNI commands. The zero value works as a runtime expects it. Commands may run at the same time, in one
// process or in many.
type Plugin struct {
	// Exec finds and runs the reference plugins; nil runs binaries found in CNI_PATH.
	Exec invoke.Exec

	// Stdout takes the result of ADD; nil is the process's.
	Stdout io.Writer

	// Stderr takes what an operator should know and the runtime has no field for; nil is the process's.
	Stderr io.Writer
}

// Funcs returns the commands in the form skel runs. Their errors are *types.Error wherever the CNI specification has a code
// for them.
func (p *Plugin) Funcs() skel.CNIFuncs {
	return skel.CNIFuncs{Add: p.Add, Check: p.Check, Del: p.Del, GC: p.GC, Status: p.Status}
}

func (p *Plugin) stdout() io.Writer {
	if p.Stdout != nil {
		return p.Stdout
	}
	return os.Stdout
}

// say writes one line for the operator. A runtime that closed stderr is no reason to fail.
func (p *Plugin) say(format string, args ...any) {
	w := p.Stderr
	if w == nil {
		w = os.Stderr
	}
	_, _ = fmt.Fprintf(w, "hopsack: "+format+"\n", args...)
}

func (p *Plugin) exec() invoke.Exec {
	if p.Exec != nil {
		return p.Exec
	}
	return &invoke.DefaultExec{RawExec: &invoke.RawExec{Stderr: os.Stderr}}
}

// delegateAdd runs the bridge plugin's ADD.
func (p *Plugin) delegateAdd(args *skel.CmdArgs, conf []byte) (types.Result, error) {
	path, err := p.find(bridgePlugin, args)
	if err != nil {
		return nil, err
	}
	result, err := invoke.ExecPluginWithResult(context.Background(), path, conf, delegateEnv("ADD", args), p.exec())
	if err != nil {
		return nil, delegateError("ADD", err)
	}
	return result, nil
}

// delegate runs another command of the bridge plugin.
func (p *Plugin) delegate(command string, args *skel.CmdArgs, conf []byte) error {
	path, err := p.find(bridgePlugin, args)
	if err != nil {
		return err
	}
	err = invoke.ExecPluginWithoutResult(context.Background(), path, conf, delegateEnv(command, args), p.exec())
	if err != nil {
		return delegateError(command, err)
	}
	return nil
}

func (p *Plugin) find(plugin string, args *skel.CmdArgs) (string, error) {
	path, err := p.exec().FindInPath(plugin, filepath.SplitList(args.Path))
	if err != nil {
		return "", fmt.Errorf("find the reference plugin %s: %w", plugin, err)
	}
	return path, nil
}

// delegateEnv passes the call on as it came in. It is made from args, not from the environment, since DEL may leave out the
// namespace.
func delegateEnv(command string, args *skel.CmdArgs) invoke.CNIArgs {
	return &invoke.Args{
		Command: command, ContainerID: args.ContainerID, NetNS: args.Netns,
		PluginArgsStr: args.Args, IfName: args.IfName, Path: args.Path,
	}
}

// delegateError says whose error it is and keeps the code, which skel would otherwise take from the wrapped error together
// with its message.
func delegateError(command string, err error) error {
	var e *types.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("delegate %s to %s: %w", command, bridgePlugin, err)
	}
	code := e.Code
	if code == types.ErrUnknown { // the plugin crashed before it could say
		code = types.ErrInternal
	}
	return types.NewError(code, fmt.Sprintf("delegate %s to %s: %s", command, bridgePlugin, e.Msg), e.Details)
}
