package debian

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os/exec"
	"path"
	"slices"
	"strings"
)

// file is a file or symbolic link of a package.
type file struct {
	pkg    string
	mode   fs.FileMode
	data   []byte
	target string
}

// Root is the file system of unpacked packages, in memory. Paths are relative to /, and those of directories that Debian has
// merged into usr (lib, lib64, bin, sbin) are below usr.
type Root struct {
	packages []Package
	files    map[string]file
}

// Packages are those that were unpacked.
func (r *Root) Packages() []Package { return slices.Clone(r.packages) }

// Unpack reads packages from a folder that debs.sh filled.
func Unpack(packages []Package, dir string) (*Root, error) {
	r := &Root{packages: packages, files: map[string]file{}}
	for _, p := range packages {
		if err := r.add(p, p.File(dir)); err != nil {
			return nil, fmt.Errorf("unpack %s: %w", p.Name, err)
		}
	}
	return r, nil
}

func (r *Root) add(p Package, path string) error {
	if err := p.check(path); err != nil {
		return err
	}
	var problem bytes.Buffer
	cmd := exec.Command("dpkg-deb", "--fsys-tarfile", path)
	cmd.Stderr = &problem
	content, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("run dpkg-deb: %w: %s", err, problem.Bytes())
	}
	return r.read(p.Name, bytes.NewReader(content))
}

func (r *Root) read(pkg string, content io.Reader) error {
	for archive := tar.NewReader(content); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		f := file{pkg: pkg, mode: fs.FileMode(h.Mode).Perm()}
		switch h.Typeflag {
		case tar.TypeDir:
			continue
		case tar.TypeSymlink:
			f.mode, f.target = fs.ModeSymlink, h.Linkname
		case tar.TypeReg:
			if f.data, err = io.ReadAll(archive); err != nil {
				return err
			}
		case tar.TypeLink:
			f.data = r.files[clean(h.Linkname)].data
		default:
			return fmt.Errorf("%s is neither file, directory nor link", h.Name)
		}
		r.files[clean(h.Name)] = f
	}
}

// clean gives a path the form it has in Root.
func clean(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	switch first, _, _ := strings.Cut(name, "/"); first {
	case "lib", "lib64", "bin", "sbin":
		return "usr/" + name
	}
	return name
}

// glob returns the paths that match a pattern of package path, sorted.
func (r *Root) glob(pattern string) []string {
	var found []string
	for name := range maps.Keys(r.files) {
		if ok, err := path.Match(pattern, name); err == nil && ok {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found
}

// next is where a symbolic link leads.
func (r *Root) next(name string) string {
	target := r.files[name].target
	if path.IsAbs(target) {
		return clean(target)
	}
	return clean(path.Join(path.Dir(name), target))
}
