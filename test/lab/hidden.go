package lab

import (
	"context"
	"os"

	"github.com/hopsack-net/hopsack/test/lab/internal/delay"
	"github.com/hopsack-net/hopsack/test/lab/internal/machine"
	"github.com/hopsack-net/hopsack/test/lab/internal/proc"
	"github.com/hopsack-net/hopsack/test/lab/internal/sandbox"
)

// RunHidden carries out a hidden subcommand, one that the lab starts itself inside a machine, when args (os.Args[1:]) is
// one, and says whether it was. A program that is used as Config.Helper calls it before anything else.
func RunHidden(args []string) (handled bool, err error) {
	if len(args) == 0 {
		return false, nil
	}
	switch args[0] {
	case machine.HoldCommand:
		return true, machine.Hold()
	case machine.JoinCommand:
		return true, machine.Join(args[1:])
	case proc.SpawnCommand:
		return true, proc.Spawn(args[1:])
	case delay.Command:
		return true, delay.Serve(context.Background(), args[1:])
	case sandbox.Command:
		return true, sandbox.Serve(context.Background(), os.Stdin, os.Stdout)
	}
	return false, nil
}
