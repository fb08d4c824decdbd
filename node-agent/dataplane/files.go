package dataplane

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/hopsack-net/hopsack/internal/handoff"
)

// fileMode lets every user read what scripts and plugins read.
const fileMode = 0o644

// removeFiles removes files that are no longer wanted, the hand-off first.
func (p *pass) removeFiles() {
	wanted := map[string]bool{}
	for _, f := range p.want.Files {
		wanted[f.Path] = true
	}
	for _, f := range slices.Backward(p.opts.OwnedFiles) {
		if wanted[f.Path] {
			continue
		}
		removed, err := f.remove()
		if removed || err != nil {
			p.did(KindFile, wrap(err, "remove file"))
		}
	}
}

// sweep removes what the plugins leave when the last pod has gone, where nothing is wanted any more.
func (p *pass) sweep() {
	if p.opts.PodsDir != "" && len(p.want.Links) == 0 && len(p.want.Files) == 0 {
		p.fail(KindFile, handoff.Sweep(filepath.Dir(p.opts.PodsDir)))
	}
}

// remove removes the file if it is hopsack's, and says whether there was one.
func (f OwnedFile) remove() (bool, error) {
	if f.Mark != "" {
		content, err := os.ReadFile(f.Path)
		if err != nil {
			return false, ignore(err, fs.ErrNotExist)
		}
		if !bytes.HasPrefix(content, []byte(f.Mark)) {
			return false, nil
		}
	}
	err := os.Remove(f.Path)
	return err == nil, ignore(err, fs.ErrNotExist)
}

// writeFiles writes files that differ, the hand-off last. It waits while devices, addresses or the packet filter are not in
// place: a pod that starts then would start without a network. One that is there already stays as it is.
func (p *pass) writeFiles() {
	for _, f := range p.want.Files {
		content, err := os.ReadFile(f.Path)
		if err == nil && string(content) == f.Content {
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			p.fail(KindFile, fmt.Errorf("read file: %w", err))
			continue
		}
		if !p.ok(KindLink, KindAddress, KindFirewall, KindFile) || len(p.unusable) > 0 {
			p.held++
			continue
		}
		p.did(KindFile, writeFile(f.Path, []byte(f.Content)))
	}
}

// writeFile replaces a file in one step: a reader sees the old content or the new.
func writeFile(path string, content []byte) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	temp, err := os.CreateTemp(dir, ".hopsack-*")
	if err != nil {
		return fmt.Errorf("write file %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write file %s: %w", path, err), ignore(os.Remove(temp.Name()), fs.ErrNotExist))
		}
	}()
	_, err = temp.Write(content)
	err = errors.Join(err, temp.Chmod(fileMode), temp.Sync(), temp.Close())
	if err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}
