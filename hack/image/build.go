package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hopsack-net/hopsack/hack/image/debian"
	"github.com/hopsack-net/hopsack/hack/image/sbom"
)

const module = "github.com/hopsack-net/hopsack"

// plugins are the CNI reference plugins that hopsack's own calls, and loopback, which container runtimes call.
var plugins = []string{"main/bridge", "main/loopback", "ipam/host-local", "meta/portmap"}

// builder makes the products.
type builder struct {
	ctx     context.Context
	opts    options
	folders map[string]string
	built   map[string]string            // binaries by platform and package
	roots   map[string]*debian.Root      // unpacked packages by architecture
	sums    map[string][sha256.Size]byte // of the files written, by name
}

func newBuilder(ctx context.Context, o options) (*builder, error) {
	folders, err := sbom.Folders(".")
	if err != nil {
		return nil, err
	}
	return &builder{ctx: ctx, opts: o, folders: folders, built: map[string]string{}, roots: map[string]*debian.Root{}, sums: map[string][sha256.Size]byte{}}, nil
}

// goBuild builds one program for a platform ("linux/arm64") and returns where it lies.
func (b *builder) goBuild(platform, pkg string) (string, error) {
	key := platform + " " + pkg
	if path := b.built[key]; path != "" {
		return path, nil
	}
	system, arch, ok := strings.Cut(platform, "/")
	if !ok {
		return "", fmt.Errorf("platform %q is not system/architecture", platform)
	}
	path := filepath.Join(b.opts.out, ".build", system+"_"+arch, filepath.Base(pkg))
	cmd := exec.CommandContext(b.ctx, "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags=-s -w -buildid= -X "+module+"/internal/version.Version="+b.opts.version, "-o", path, pkg)
	// Whatever in the environment would make the program another one is set here.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+arch, "GOAMD64=v1", "GOARM64=v8.0",
		"GOFLAGS=", "GOEXPERIMENT=", "GOFIPS140=off", "GOWORK=off")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("build %s for %s: %w", pkg, platform, err)
	}
	b.built[key] = path
	return path, nil
}

// nodePrograms builds what a node needs: the agent, and the plugins by the names they are installed under.
func (b *builder) nodePrograms(platform string) (agent string, cni map[string]string, err error) {
	agent, err = b.goBuild(platform, module+"/cmd/hopsack-agent")
	if err != nil {
		return "", nil, err
	}
	cni = map[string]string{}
	if cni["hopsack"], err = b.goBuild(platform, module+"/cmd/hopsack-cni"); err != nil {
		return "", nil, err
	}
	for _, p := range plugins {
		if cni[filepath.Base(p)], err = b.goBuild(platform, "github.com/containernetworking/plugins/plugins/"+p); err != nil {
			return "", nil, err
		}
	}
	return agent, cni, nil
}

// debian unpacks the locked packages of an architecture, once.
func (b *builder) debian(arch string) (*debian.Root, error) {
	if root := b.roots[arch]; root != nil {
		return root, nil
	}
	if err := fetch(b.ctx, b.opts.packages); err != nil {
		return nil, err
	}
	packages, err := debian.ReadLock("hack/image/debian.lock", arch)
	if err != nil {
		return nil, err
	}
	b.roots[arch], err = debian.Unpack(packages, b.opts.packages)
	return b.roots[arch], err
}

// papers are what goes along with programs: what is inside, and under what terms.
type papers struct {
	bill     []byte
	licences []byte
}

// describe makes the papers of programs and packages, and puts them beside as well.
func (b *builder) describe(name, platform string, packages []debian.Package, binaries ...string) (papers, error) {
	modules, err := sbom.Modules(binaries...)
	if err != nil {
		return papers{}, err
	}
	licences, err := sbom.Licences(modules, b.folders)
	if err != nil {
		return papers{}, err
	}
	own, err := os.ReadFile("LICENSE")
	if err != nil {
		return papers{}, err
	}
	doc := sbom.Document{
		Name: name + " " + platform, Version: b.opts.version, Modules: modules, Licences: licences, Packages: packages,
	}
	bill, err := doc.SPDX()
	if err != nil {
		return papers{}, err
	}
	p := papers{bill: bill, licences: slices.Concat([]byte("hopsack is under these terms:\n\n"), own, []byte("\n"), sbom.Texts(modules, licences))}
	// The image has these as files of their own.
	beside := p.licences
	for _, d := range packages {
		root, err := b.debian(arch(platform))
		if err != nil {
			return papers{}, err
		}
		beside = fmt.Appendf(beside, "\n%s\nDebian package %s %s\n%[1]s\n\n%[4]s", strings.Repeat("=", 100), d.Name, d.Version, root.Copyright(d.Name))
	}
	file := name + "_" + strings.ReplaceAll(platform, "/", "_")
	return p, errors.Join(b.write(file+".spdx.json", p.bill), b.write(file+".licences.txt", beside))
}

// write puts a file into the output folder, whole or not at all.
func (b *builder) write(name string, data []byte) error {
	path := filepath.Join(b.opts.out, name)
	part := filepath.Join(b.opts.out, "."+name+".part")
	if err := os.WriteFile(part, data, 0o644); err != nil {
		return err
	}
	b.sums[name] = sha256.Sum256(data)
	return os.Rename(part, path)
}

// writeSums lists what was made, in the form sha256sum -c reads.
func (b *builder) writeSums() error {
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(b.sums)) {
		fmt.Fprintf(&out, "%x  %s\n", b.sums[name], name)
	}
	return b.write("SHA256SUMS", []byte(out.String()))
}
