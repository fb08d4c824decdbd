package nodeagent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/go-logr/logr"

	"github.com/hopsack-net/hopsack/internal/cniinstall"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// plugins puts the CNI plugins in place before the CNI configuration names them, and takes them away after it is gone: a network
// may be removed and made again while the agent runs. Without a directory they are somebody else's matter.
type plugins struct {
	from, to string
	log      logr.Logger
	// placed says that they were put in place: they are read once per process, and again after one was taken away.
	placed bool
}

// place has them in place. Where that fails the CNI configuration is not written; one that is there already stays, as its
// plugins may be there, too.
func (p *plugins) place(want desired.State, conflist string) (desired.State, error) {
	if p.to == "" || p.placed && p.complete() {
		return want, nil
	}
	installed, err := cniinstall.Install(p.from, p.to)
	if len(installed) > 0 {
		p.log.Info("Installed CNI plugins", "added", len(installed), "directory", p.to)
	}
	if p.placed = err == nil; p.placed || exists(conflist) {
		return want, err
	}
	want.Files = slices.DeleteFunc(slices.Clone(want.Files), func(f desired.File) bool { return f.Path == conflist })
	return want, err
}

// complete says whether there is something under each plugin's name. One that somebody replaced is theirs while this process runs.
func (p *plugins) complete() bool {
	entries, err := os.ReadDir(p.from)
	return err != nil || !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return !exists(filepath.Join(p.to, e.Name())) })
}

// remove takes them away.
func (p *plugins) remove() error {
	if p.to == "" {
		return nil
	}
	p.placed = false
	removed, err := cniinstall.Remove(p.to)
	if len(removed) > 0 {
		p.log.Info("Removed CNI plugins", "deleted", len(removed), "directory", p.to)
	}
	return err
}

// leave is the end of an agent. Without a network nobody will call the plugins that came with its pod, and nobody else knows
// of them: the DaemonSet may be about to go.
func (p *plugins) leave(paths desired.Paths) error {
	if exists(paths.Conflist) || exists(paths.Handoff) {
		return nil
	}
	return p.remove()
}

// exists says whether there is a file, in doubt yes.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
