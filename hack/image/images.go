package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hopsack-net/hopsack/hack/image/debian"
	"github.com/hopsack-net/hopsack/hack/image/oci"
)

// agentPrograms are what the agent runs: nft for its table, both variants of iptables for its two rules, because rules of
// iptables-legacy are invisible to nft. xtables are what they need to print rules that others made.
var agentPrograms = []string{
	"usr/sbin/nft",
	"usr/sbin/iptables-nft", "usr/sbin/iptables-legacy", "usr/sbin/ip6tables-nft", "usr/sbin/ip6tables-legacy",
	"usr/lib/TRIPLET/xtables/*.so",
	// The copyright files of packages refer to them.
	"usr/share/common-licenses/*",
}

// searchPath is where programs are in the images.
const searchPath = "/usr/sbin:/usr/bin"

// nobody is whom the controller runs as: it needs nothing of the node, and no file but its own.
const nobody = "65532:65532"

// merged are the folders that Debian has moved into usr; programs name their dynamic linker by the old path.
var merged = []string{"bin", "lib", "lib64", "sbin"}

func (b *builder) controllerImage() error {
	archive := oci.Archive{Names: []string{b.name("hopsack-controller")}}
	for _, platform := range b.opts.platforms {
		program, err := b.goBuild(platform, module+"/cmd/hopsack-controller")
		if err != nil {
			return err
		}
		root, err := b.debian(arch(platform))
		if err != nil {
			return err
		}
		var base, own oci.Tree
		certificates, err := root.Certificates(&base)
		if err != nil {
			return err
		}
		if err := own.File("usr/bin/hopsack-controller", program, 0o755); err != nil {
			return err
		}
		if err := b.enclose(&own, "hopsack-controller", platform, []debian.Package{certificates}, program); err != nil {
			return err
		}
		image, err := b.image(platform, "hopsack-controller", &base, &own)
		if err != nil {
			return err
		}
		image.Config.User = nobody
		archive.Images = append(archive.Images, image)
	}
	return b.writeArchive("hopsack-controller", archive)
}

func (b *builder) agentImage() error {
	archive := oci.Archive{Names: []string{b.name("hopsack-agent")}}
	for _, platform := range b.opts.platforms {
		agent, cni, err := b.nodePrograms(platform)
		if err != nil {
			return err
		}
		var base, plugins, own oci.Tree
		packages, err := b.agentBase(&base, arch(platform))
		if err != nil {
			return err
		}
		binaries := []string{agent}
		for name, path := range cni {
			binaries = append(binaries, path)
			if err := plugins.File("usr/lib/hopsack/cni/"+name, path, 0o755); err != nil {
				return err
			}
		}
		if err := own.File("usr/bin/hopsack-agent", agent, 0o755); err != nil {
			return err
		}
		if err := b.enclose(&own, "hopsack-agent", platform, packages, binaries...); err != nil {
			return err
		}
		// What changes least lies lowest: an upgrade brings the layers above only.
		image, err := b.image(platform, "hopsack-agent", &base, &plugins, &own)
		if err != nil {
			return err
		}
		archive.Images = append(archive.Images, image)
	}
	return b.writeArchive("hopsack-agent", archive)
}

// agentBase puts what the agent runs, and what that needs, into a tree, and returns the packages it comes from: all of the lock.
func (b *builder) agentBase(base *oci.Tree, arch string) ([]debian.Package, error) {
	root, err := b.debian(arch)
	if err != nil {
		return nil, err
	}
	packages, err := root.Programs(base, arch, agentPrograms...)
	if err != nil {
		return nil, err
	}
	certificates, err := root.Certificates(base)
	if err != nil {
		return nil, err
	}
	packages = append(packages, certificates)
	for _, p := range root.Packages() {
		if !slices.Contains(packages, p) {
			return nil, fmt.Errorf("nothing is taken from %s: take it out of debian.lock", p.Name)
		}
	}
	// iptables-legacy wants a place for its lock; the manifests mount the host's lock there.
	base.Dir("run", 0o755)
	for _, dir := range merged {
		base.Symlink(dir, "usr/"+dir)
		base.Dir("usr/"+dir, 0o755)
	}
	return packages, nil
}

// enclose puts the papers of programs and packages into an image.
func (b *builder) enclose(tree *oci.Tree, name, platform string, packages []debian.Package, binaries ...string) error {
	p, err := b.describe(name, platform, packages, binaries...)
	if err != nil {
		return err
	}
	tree.Data("usr/share/doc/hopsack/LICENCES.txt", p.licences, 0o644)
	tree.Data("usr/share/doc/hopsack/sbom.spdx.json", p.bill, 0o644)
	return nil
}

// image packs trees into an image whose program has the image's name.
func (b *builder) image(platform, program string, trees ...*oci.Tree) (oci.Image, error) {
	system, architecture, _ := strings.Cut(platform, "/")
	image := oci.Image{
		Platform: oci.Platform{OS: system, Architecture: architecture},
		Config: oci.Config{
			Entrypoint: []string{"/usr/bin/" + program},
			Env:        []string{"PATH=" + searchPath},
			WorkingDir: "/",
			Labels: map[string]string{
				"org.opencontainers.image.title":    program,
				"org.opencontainers.image.version":  b.opts.version,
				"org.opencontainers.image.source":   "https://" + module,
				"org.opencontainers.image.licenses": "Apache-2.0",
			},
		},
	}
	if b.opts.trees != "" {
		// Docker's COPY makes a layer of its own of each folder.
		for i, tree := range trees {
			if err := tree.Write(filepath.Join(b.opts.trees, program, fmt.Sprint(i))); err != nil {
				return image, err
			}
		}
	}
	if b.opts.revision != "" {
		image.Config.Labels["org.opencontainers.image.revision"] = b.opts.revision
	}
	for _, tree := range trees {
		layer, err := tree.Layer(b.opts.compress)
		if err != nil {
			return image, err
		}
		image.Layers = append(image.Layers, layer)
	}
	return image, nil
}

func (b *builder) writeArchive(name string, a oci.Archive) error {
	var out bytes.Buffer
	digest, err := a.Write(&out)
	if err != nil {
		return err
	}
	if err := b.write(name+".tar", out.Bytes()); err != nil {
		return err
	}
	if err := b.write(name+".digest", []byte(a.Names[0]+"@"+digest+"\n")); err != nil {
		return err
	}
	for _, image := range a.Images {
		var size int64
		for _, l := range image.Layers {
			size += l.Size()
		}
		fmt.Fprintf(os.Stdout, "%s %s/%s: %.1f MB of layers\n", a.Names[0], image.Platform.OS, image.Platform.Architecture, float64(size)/1e6)
	}
	fmt.Fprintf(os.Stdout, "%s: %s\n", a.Names[0], digest)
	return nil
}

func (b *builder) name(image string) string {
	return b.opts.repository + "/" + image + ":" + b.opts.version
}

func arch(platform string) string {
	_, arch, _ := strings.Cut(platform, "/")
	return arch
}
