package debian

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/hopsack-net/hopsack/hack/image/oci"
)

// choice is the files that were taken so far.
type choice struct {
	root  *Root
	taken map[string]bool
	// libraries are where the dynamic linker looks, in its order.
	libraries []string
}

// triplets are the names of the folders of libraries, by Debian's architecture.
var triplets = map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}

// Programs puts the files that match the patterns into the tree, with all they need to run, and the copyright file of every
// package that something was taken from. It returns these packages. A pattern that matches nothing is an error.
func (r *Root) Programs(tree *oci.Tree, arch string, patterns ...string) ([]Package, error) {
	triplet, ok := triplets[arch]
	if !ok {
		return nil, fmt.Errorf("architecture %q is not known", arch)
	}
	c := &choice{root: r, taken: map[string]bool{}, libraries: []string{"usr/lib/" + triplet, "usr/lib"}}
	for _, pattern := range patterns {
		pattern = strings.ReplaceAll(pattern, "TRIPLET", triplet)
		names := r.glob(pattern)
		if len(names) == 0 {
			return nil, fmt.Errorf("no package has %s", pattern)
		}
		for _, name := range names {
			if err := c.take(name); err != nil {
				return nil, fmt.Errorf("take %s: %w", name, err)
			}
		}
	}
	packages, err := c.copyrights()
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(c.taken)) {
		r.put(tree, name, name)
	}
	return packages, nil
}

// put adds a file of the packages to the tree under a name of its own.
func (r *Root) put(tree *oci.Tree, name, at string) {
	f := r.files[name]
	if f.target != "" {
		tree.Symlink(at, f.target)
		return
	}
	// No file of an image needs more: nobody is to gain rights by running one.
	tree.Data(at, f.data, f.mode&0o755)
}

// take adds a file, where it leads and what it needs.
func (c *choice) take(name string) error {
	if c.taken[name] {
		return nil
	}
	f, ok := c.root.files[name]
	if !ok {
		return errors.New("no package has it")
	}
	c.taken[name] = true
	if f.target != "" {
		return c.take(c.root.next(name))
	}
	needs, err := needed(f.data)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	for _, need := range needs {
		at, err := c.find(need)
		if err != nil {
			return fmt.Errorf("%s needs %s: %w", name, need, err)
		}
		if err := c.take(at); err != nil {
			return fmt.Errorf("%s needs %s: %w", name, need, err)
		}
	}
	return nil
}

// find looks for what a program names: a path, or a library.
func (c *choice) find(need string) (string, error) {
	if strings.Contains(need, "/") {
		return clean(need), nil
	}
	for _, dir := range c.libraries {
		at := path.Join(dir, need)
		if _, ok := c.root.files[at]; ok {
			return at, nil
		}
	}
	return "", errors.New("no package has it")
}

// needed lists the libraries a program or library names, and its dynamic linker. Files of other kinds need nothing.
func needed(data []byte) ([]string, error) {
	if !bytes.HasPrefix(data, []byte(elf.ELFMAG)) {
		return nil, nil
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	needs, err := f.ImportedLibraries()
	if err != nil {
		return nil, err
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		interpreter := make([]byte, p.Filesz)
		if _, err := p.ReadAt(interpreter, 0); err != nil {
			return nil, fmt.Errorf("read interpreter: %w", err)
		}
		needs = append(needs, string(bytes.TrimRight(interpreter, "\x00")))
	}
	return needs, nil
}

// copyrights adds the copyright file of every package that something was taken from, and returns these packages.
func (c *choice) copyrights() ([]Package, error) {
	from := map[string]bool{}
	for name := range c.taken {
		from[c.root.files[name].pkg] = true
	}
	var packages []Package
	for _, p := range c.root.packages {
		if !from[p.Name] {
			continue
		}
		packages = append(packages, p)
		if err := c.take("usr/share/doc/" + p.Name + "/copyright"); err != nil {
			return nil, fmt.Errorf("take the copyright of %s: %w", p.Name, err)
		}
	}
	return packages, nil
}

// certificates is where programs look for the authorities they trust.
const certificates = "etc/ssl/certs/ca-certificates.crt"

// Certificates puts the certificates of every authority into the tree, and returns the package they are from.
func (r *Root) Certificates(tree *oci.Tree) (Package, error) {
	var all bytes.Buffer
	for _, name := range r.glob("usr/share/ca-certificates/mozilla/*.crt") {
		all.Write(bytes.TrimRight(r.files[name].data, "\n"))
		all.WriteByte('\n')
	}
	at := slices.IndexFunc(r.packages, func(p Package) bool { return p.Name == "ca-certificates" })
	if all.Len() == 0 || at < 0 {
		return Package{}, errors.New("no package has certificates")
	}
	tree.Data(certificates, all.Bytes(), 0o644)
	copyright := "usr/share/doc/ca-certificates/copyright"
	if _, ok := r.files[copyright]; !ok {
		return Package{}, fmt.Errorf("no package has %s", copyright)
	}
	r.put(tree, copyright, copyright)
	return r.packages[at], nil
}

// Copyright returns a package's copyright file, empty where there is none.
func (r *Root) Copyright(pkg string) []byte {
	name := "usr/share/doc/" + pkg + "/copyright"
	for range 8 { // links lead to links, but not for ever
		f := r.files[name]
		if f.target == "" {
			return f.data
		}
		name = r.next(name)
	}
	return nil
}
