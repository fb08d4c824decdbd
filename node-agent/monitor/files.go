package monitor

import (
	"context"
	"path/filepath"
	"slices"

	"github.com/fsnotify/fsnotify"
)

// WatchFiles has the directories of the files watched, those that exist. Call it after a pass: the pass may have made one.
func (m *Monitor) WatchFiles() {
	dirs := slices.Clone(m.opts.Directories)
	for _, f := range m.opts.Files {
		dirs = append(dirs, filepath.Dir(f))
	}
	slices.Sort(dirs)
	for _, dir := range slices.Compact(dirs) {
		// One that does not exist is made, and watched, by a later pass; one that is watched stays so.
		_ = m.watcher.Add(dir)
	}
}

// watchFiles kicks for the files by name, and for everything in the directories.
func (m *Monitor) watchFiles(ctx context.Context) {
	defer m.watcher.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-m.watcher.Events:
			if m.fileMatters(e) {
				m.kick(false)
			}
		case err := <-m.watcher.Errors:
			m.opts.Log.Error(err, "Watching files")
			m.kick(true)
		}
	}
}

func (m *Monitor) fileMatters(e fsnotify.Event) bool {
	if e.Op == fsnotify.Chmod {
		return false
	}
	if slices.Contains(m.opts.Files, e.Name) || slices.Contains(m.opts.Directories, filepath.Dir(e.Name)) {
		return true
	}
	for _, f := range m.opts.Files { // the directory itself
		if filepath.Dir(f) == e.Name {
			return true
		}
	}
	return false
}
