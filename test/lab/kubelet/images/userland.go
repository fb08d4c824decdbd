package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/hopsack-net/hopsack/hack/image/oci"
)

// fillAgnhost makes the image that the Kubernetes tests call agnhost: its program among the tools that tests run in it.
func fillAgnhost(tree *oci.Tree, from source) error {
	if err := fillUserland(tree, from); err != nil {
		return err
	}
	for _, name := range []string{"localhost.crt", "localhost.key"} {
		if err := tree.File(name, filepath.Join(from.data, "porter", name), 0o644); err != nil {
			return err
		}
	}
	tree.Dir("uploads", 0o755)
	tree.Symlink("agnhost-2", "agnhost")
	return tree.File("agnhost", filepath.Join(from.bin, "agnhost"), 0o755)
}

// tools are what tests run, by path in the image. Each is looked for among the unpacked packages, then on this machine.
// The shell is dash and not busybox's: that one prefers its own commands to those of the image.
var tools = map[string]string{
	"bin/sh":              "dash",
	"bin/bash":            "bash",
	"bin/ip":              "ip",
	"usr/bin/ss":          "ss",
	"usr/bin/curl":        "curl",
	"usr/bin/getent":      "getent",
	"usr/bin/nc":          "nc.openbsd",
	"usr/bin/iperf":       "iperf",
	"usr/bin/dig":         "dig",
	"usr/local/bin/iperf": "iperf",
	"usr/sbin/nft":        "nft",
	"usr/bin/tcpdump":     "tcpdump",
	"usr/sbin/conntrack":  "conntrack",
	"usr/bin/ping":        "ping",
}

// fillUserland makes a small system: busybox under all its names, the tools tests want the real ones of, and accounts.
func fillUserland(tree *oci.Tree, from source) error {
	busybox, err := find(from, "busybox")
	if err != nil {
		return err
	}
	if err := tree.File("bin/busybox", busybox, 0o755); err != nil {
		return err
	}
	applets, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		return fmt.Errorf("list what busybox can do: %w", err)
	}
	for _, name := range strings.Fields(string(applets)) {
		// Tests tell the tools of the image from busybox's by what they print.
		if name != "busybox" && name != "ip" && name != "nc" {
			tree.Symlink("bin/"+name, "busybox")
		}
	}
	for at, name := range tools {
		path, err := find(from, name)
		if err != nil {
			return err
		}
		if err := addProgram(tree, from, at, path); err != nil {
			return err
		}
	}
	for _, dir := range []string{"root", "proc", "sys", "dev", "run", "var/run", "usr/local/sbin", "sbin"} {
		tree.Dir(dir, 0o755)
	}
	tree.Dir("tmp", fs.ModeSticky|0o777)
	tree.Data("etc/passwd", []byte("root:x:0:0:root:/root:/bin/sh\nuser-defined-in-image:x:1000:1000::/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"), 0o644)
	tree.Data("etc/group", []byte("root:x:0:\ngroup-defined-in-image:x:50000:user-defined-in-image\nnogroup:x:65534:\n"), 0o644)
	tree.Data("etc/nsswitch.conf", []byte("hosts: files dns\n"), 0o644)
	return nil
}

// find returns the file of a command.
func find(from source, name string) (string, error) {
	dirs := []string{"/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"}
	if from.root != "" {
		var unpacked []string
		for _, dir := range dirs {
			unpacked = append(unpacked, filepath.Join(from.root, dir))
		}
		dirs = append(unpacked, dirs...)
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is missing: install it", name)
}

// addProgram adds a program with the loader and the libraries it names.
func addProgram(tree *oci.Tree, from source, at, path string) error {
	if err := tree.File(at, path, 0o755); err != nil {
		return err
	}
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	defer f.Close()
	for _, prog := range f.Progs {
		if prog.Type != elf.PT_INTERP {
			continue
		}
		name := make([]byte, prog.Filesz)
		if _, err := prog.ReadAt(name, 0); err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		loader := strings.TrimRight(string(name), "\x00")
		if err := tree.File(loader, loader, 0o755); err != nil {
			return err
		}
	}
	return addLibraries(tree, from, f)
}

// addLibraries adds what a program or a library wants, and what that wants.
func addLibraries(tree *oci.Tree, from source, f *elf.File) error {
	names, err := f.ImportedLibraries()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return fmt.Errorf("list libraries: %w", err)
	}
	for _, name := range names {
		path, err := findLibrary(from, name)
		if err != nil {
			return err
		}
		at := filepath.Join("usr/lib", triplet(), name)
		if tree.Has(at) {
			continue
		}
		if err := tree.File(at, path, 0o755); err != nil {
			return err
		}
		lib, err := elf.Open(path)
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		err = addLibraries(tree, from, lib)
		lib.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// triplet is the directory of a platform's libraries in Debian and its kin.
func triplet() string {
	if runtime.GOARCH == "arm64" {
		return "aarch64-linux-gnu"
	}
	return "x86_64-linux-gnu"
}

func findLibrary(from source, name string) (string, error) {
	for _, base := range []string{from.root, "/"} {
		if base == "" {
			continue
		}
		for _, dir := range []string{"usr/lib/" + triplet(), "lib/" + triplet(), "usr/lib64", "lib64", "usr/lib", "lib"} {
			// A loader's own directory may hold the libraries that only its packages use.
			for _, at := range []string{filepath.Join(base, dir, name), filepath.Join(base, dir, "systemd", name)} {
				if info, err := os.Stat(at); err == nil && info.Mode().IsRegular() {
					return at, nil
				}
			}
		}
	}
	return "", fmt.Errorf("library %s is missing: install what brings it", name)
}
