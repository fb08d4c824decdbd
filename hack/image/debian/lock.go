package debian

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Package is a package of the lock.
type Package struct {
	// Arch is Debian's name of the architecture, "all" for packages without one.
	Arch    string
	Name    string
	Version string
	// SHA256 is that of the .deb file, in hex.
	SHA256 string
}

// PURL names the package for software bills of materials.
func (p Package) PURL() string {
	version := strings.ReplaceAll(strings.ReplaceAll(p.Version, "+", "%2B"), ":", "%3A")
	return fmt.Sprintf("pkg:deb/debian/%s@%s?arch=%s&distro=debian-13", p.Name, version, p.Arch)
}

// ReadLock returns the packages of the lock for one architecture, those for all included, in the order of the file.
func ReadLock(path, arch string) ([]Package, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var packages []Package
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) != 4 || len(fields[3]) != hex.EncodedLen(sha256.Size) {
			return nil, fmt.Errorf("read %s: %q is not architecture, package, version, SHA-256", path, line)
		}
		if fields[0] == arch || fields[0] == "all" {
			packages = append(packages, Package{Arch: fields[0], Name: fields[1], Version: fields[2], SHA256: fields[3]})
		}
	}
	return packages, lines.Err()
}

// File is where the package lies in a folder that debs.sh filled.
func (p Package) File(dir string) string { return filepath.Join(dir, p.SHA256+".deb") }

// check says whether the file is the package of the lock.
func (p Package) check(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != p.SHA256 {
		return fmt.Errorf("%s has SHA-256 %s, not the one of the lock", path, got)
	}
	return nil
}
