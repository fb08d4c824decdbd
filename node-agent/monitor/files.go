package monitor

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// watchMask: files are replaced by renaming, so the directory is what is watched.
const watchMask = unix.IN_CREATE | unix.IN_CLOSE_WRITE | unix.IN_ATTRIB | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE |
	unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR

// fileWatch watches files by their directories.
type fileWatch struct {
	fd    int
	dirs  map[string]map[string]bool // the names that matter, by directory; nil means all
	wds   map[int]string
	open  map[string]bool
	bytes []byte
}

func newFileWatch(paths []string) (*fileWatch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open inotify: %w", err)
	}
	w := &fileWatch{fd: fd, dirs: map[string]map[string]bool{}, wds: map[int]string{}, open: map[string]bool{}, bytes: make([]byte, maxMessage)}
	for _, p := range paths {
		if strings.HasSuffix(p, "/") {
			w.dirs[filepath.Clean(p)] = nil
		}
	}
	for _, p := range paths {
		dir, name := filepath.Split(p)
		if dir = filepath.Clean(dir); name == "" {
			continue
		}
		if names, ok := w.dirs[dir]; !ok {
			w.dirs[dir] = map[string]bool{name: true}
		} else if names != nil {
			names[name] = true
		}
	}
	w.rewatch()
	return w, nil
}

// rewatch watches directories that are not watched, and says whether one is still missing.
func (w *fileWatch) rewatch() (missing bool) {
	for dir := range w.dirs {
		if w.open[dir] {
			continue
		}
		wd, err := unix.InotifyAddWatch(w.fd, dir, watchMask)
		if err != nil {
			missing = true
			continue
		}
		w.wds[wd], w.open[dir] = dir, true
	}
	return missing
}

// drain reads what waits and says whether it is about a file that matters.
func (w *fileWatch) drain() (matters bool) {
	for {
		n, err := unix.Read(w.fd, w.bytes)
		if err != nil || n <= 0 {
			return matters
		}
		for b := w.bytes[:n]; len(b) >= unix.SizeofInotifyEvent; {
			wd := int(int32(binary.NativeEndian.Uint32(b)))
			mask := binary.NativeEndian.Uint32(b[4:])
			end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
			if end > len(b) {
				break
			}
			name, _, _ := bytes.Cut(b[unix.SizeofInotifyEvent:end], []byte{0})
			matters = w.see(wd, mask, string(name)) || matters
			b = b[end:]
		}
	}
}

// see says whether one event matters. A directory that went away is watched again once it is back.
func (w *fileWatch) see(wd int, mask uint32, name string) bool {
	if mask&unix.IN_Q_OVERFLOW != 0 {
		return true
	}
	dir, ok := w.wds[wd]
	if !ok {
		return false
	}
	if mask&(unix.IN_IGNORED|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_UNMOUNT) != 0 {
		if mask&unix.IN_MOVE_SELF != 0 {
			_, _ = unix.InotifyRmWatch(w.fd, uint32(wd)) // it would follow the directory to its new place
		}
		delete(w.wds, wd)
		delete(w.open, dir)
		return true
	}
	names := w.dirs[dir]
	return names == nil && !strings.HasPrefix(name, ".") || names[name]
}
