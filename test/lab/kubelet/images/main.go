package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/hopsack-net/hopsack/hack/image/oci"
	"github.com/hopsack-net/hopsack/test/lab/internal/kubeconf"
)

// source is where the content of images comes from.
type source struct {
	// bin holds the programs that were built for the images.
	bin string
	// root holds unpacked packages, for the image of the tests.
	root string
	// data holds the files that agnhost's module has for its image.
	data string
}

// image says what an archive consists of.
type image struct {
	names  []string
	config oci.Config
	fill   func(*oci.Tree, source) error
}

// images are all there are, by the name of the archive.
func images() map[string]image {
	return map[string]image{
		"pause": {
			names:  []string{kubeconf.PauseImage},
			config: oci.Config{User: "65535:65535", Entrypoint: []string{"/pause"}},
			fill:   program("pause"),
		},
		"coredns": {
			names:  []string{"registry.k8s.io/coredns/coredns:v1.14.6"},
			config: oci.Config{Entrypoint: []string{"/coredns"}},
			fill:   program("coredns"),
		},
		"agnhost": {
			// The second is the one that tests of an upgrade begin with.
			names: []string{"registry.k8s.io/e2e-test-images/agnhost:2.63.0", "registry.k8s.io/e2e-test-images/agnhost:2.55"},
			config: oci.Config{
				Entrypoint: []string{"/agnhost"}, Cmd: []string{"pause"},
				Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			},
			fill: fillAgnhost,
		},
		"busybox": {
			// Two of the tests' images hold nothing that this one does not.
			names: []string{"registry.k8s.io/e2e-test-images/busybox:1.37.0-1", "registry.k8s.io/e2e-test-images/glibc-dns-testing:2.0.0"},
			config: oci.Config{
				Entrypoint: []string{"/bin/sh"},
				Env:        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			},
			fill: fillUserland,
		},
	}
}

func main() {
	var from source
	out := flag.String("out", ".", "directory for the archives")
	flag.StringVar(&from.bin, "bin", "", "directory with the programs")
	flag.StringVar(&from.root, "root", "", "directory with the unpacked packages, for the images of the tests")
	flag.StringVar(&from.data, "data", "", "directory of agnhost in its module")
	flag.Parse()
	for _, name := range flag.Args() {
		if err := write(name, filepath.Join(*out, name+".tar"), from); err != nil {
			fmt.Fprintf(os.Stderr, "images: %s: %v\n", name, err)
			os.Exit(1)
		}
	}
}

func write(name, path string, from source) error {
	img, ok := images()[name]
	if !ok {
		return fmt.Errorf("no such image")
	}
	var tree oci.Tree
	if err := img.fill(&tree, from); err != nil {
		return err
	}
	// Not compressed: it never leaves the machine, and every node unpacks it.
	layer, err := tree.Layer(false)
	if err != nil {
		return err
	}
	archive := oci.Archive{Names: img.names, Images: []oci.Image{{
		Platform: oci.Platform{OS: "linux", Architecture: runtime.GOARCH}, Config: img.config, Layers: []oci.Layer{layer},
	}}}
	sum, err := archive.WriteFile(path)
	if err != nil {
		return err
	}
	fmt.Printf("%s %s %s\n", filepath.Base(path), img.names[0], sum)
	return nil
}

// program fills an image with one program and nothing else.
func program(name string) func(*oci.Tree, source) error {
	return func(tree *oci.Tree, from source) error {
		return tree.File(name, filepath.Join(from.bin, name), 0o755)
	}
}
