package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/test/lab/internal/ns"
)

// lock keeps every other command from changing the lab until the returned function is called. It waits for them.
func (c *Cluster) lock(ctx context.Context) (func(), error) { return c.flock(ctx, unix.LOCK_EX) }

// lockShared keeps machines from changing, but lets other holders of shared locks work at the same time. It also checks
// that the lab that is up is this one.
func (c *Cluster) lockShared(ctx context.Context) (func(), error) {
	unlock, err := c.flock(ctx, unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	if err := c.checkOwner(); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

func (c *Cluster) flock(ctx context.Context, how int) (func(), error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the lab makes network namespaces: run it as root")
	}
	said := false
	for {
		fd, err := tryLock(how)
		if err != nil {
			return nil, fmt.Errorf("lock the lab: %w", err)
		}
		if fd >= 0 {
			return func() { unix.Close(fd) }, nil
		}
		if !said {
			c.say("waiting for another lab command")
			said = true
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for another lab command: %w", context.Cause(ctx))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// tryLock returns the descriptor that holds the lock, or -1 when somebody else has it.
func tryLock(how int) (int, error) {
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return -1, err
	}
	path := filepath.Join(runDir, "lock")
	fd, err := unix.Open(path, unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o644)
	if errors.Is(err, unix.ENOENT) {
		return -1, nil
	}
	if err != nil {
		return -1, err
	}
	err = unix.Flock(fd, how|unix.LOCK_NB)
	var mine, named unix.Stat_t
	if err == nil {
		err = errors.Join(unix.Fstat(fd, &mine), unix.Stat(path, &named))
	}
	if err == nil && mine.Ino == named.Ino {
		return fd, nil
	}
	// Busy, or the file that was locked is the one that Down has just removed.
	unix.Close(fd)
	if err != nil && !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.ENOENT) {
		return -1, err
	}
	return -1, nil
}

func ownerPath() string { return filepath.Join(runDir, "owner") }

// owner returns the state directory of the lab that is up, or was when it crashed; "" when there is none.
func owner() (string, error) {
	raw, err := os.ReadFile(ownerPath())
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(raw)), err
}

// claim makes this lab the machine's, or names the one that is.
func (c *Cluster) claim() error {
	other, err := owner()
	if err != nil {
		return err
	}
	if other == c.dir {
		return nil
	}
	if other != "" {
		return fmt.Errorf("another lab is up, with its state in %s: take it down first with `lab down --dir %s`", other, other)
	}
	names, err := labNamespaces()
	if err != nil {
		return err
	}
	if len(names) > 0 {
		return fmt.Errorf("network namespaces with the lab's names exist (%s): remove them with `lab down`", strings.Join(names, ", "))
	}
	return os.WriteFile(ownerPath(), []byte(c.dir+"\n"), 0o644)
}

// checkOwner refuses when the lab that is up is another one.
func (c *Cluster) checkOwner() error {
	other, err := owner()
	if err != nil {
		return err
	}
	if other != "" && other != c.dir {
		return fmt.Errorf("the lab that is up has its state in %s, not in %s: name it with --dir or %s", other, c.dir, DirEnv)
	}
	return nil
}

// labNamespaces returns the names of the network namespaces that belong to a lab, whoever made it.
func labNamespaces() ([]string, error) {
	names, err := ns.List(netnsPrefix)
	if err != nil {
		return nil, err
	}
	var ours []string
	for _, name := range names {
		rest := strings.TrimPrefix(name, netnsPrefix)
		_, notNode := parseNodeName(rest)
		if notNode == nil || isPlace(rest) || strings.HasPrefix(rest, podPrefix) {
			ours = append(ours, name)
		}
	}
	return ours, nil
}
