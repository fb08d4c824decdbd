package sbom

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
)

// stdlib is how the standard library is named among modules.
const stdlib = "stdlib"

// Module is a Go module inside of a binary; the standard library is one too.
type Module struct {
	Path    string
	Version string
	// Sum is the hash of go.sum; empty for the standard library.
	Sum string
}

// PURL names the module for software bills of materials.
func (m Module) PURL() string { return "pkg:golang/" + m.Path + "@" + m.Version }

// Modules returns what is linked into the binaries: every module but their own, and the standard library, sorted.
func Modules(binaries ...string) ([]Module, error) {
	seen := map[Module]bool{}
	var modules []Module
	add := func(m Module) {
		if !seen[m] {
			seen[m] = true
			modules = append(modules, m)
		}
	}
	for _, path := range binaries {
		info, err := buildinfo.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read modules: %w", err)
		}
		add(Module{Path: stdlib, Version: strings.TrimPrefix(info.GoVersion, "go")})
		for _, d := range info.Deps {
			if d.Replace != nil {
				d = d.Replace
			}
			add(Module{Path: d.Path, Version: d.Version, Sum: d.Sum})
		}
	}
	slices.SortFunc(modules, func(a, b Module) int {
		return strings.Compare(a.Path+"@"+a.Version, b.Path+"@"+b.Version)
	})
	return modules, nil
}

// Folders says where the sources of modules lie, by "path@version". It asks the go command in the folder of the main module.
func Folders(dir string) (map[string]string, error) {
	goroot, err := goCommand(dir, "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	version, err := goCommand(dir, "env", "GOVERSION")
	if err != nil {
		return nil, err
	}
	folders := map[string]string{
		stdlib + "@" + strings.TrimPrefix(strings.TrimSpace(string(version)), "go"): strings.TrimSpace(string(goroot)),
	}
	list, err := goCommand(dir, "list", "-m", "-json", "all")
	if err != nil {
		return nil, err
	}
	for decoder := json.NewDecoder(bytes.NewReader(list)); ; {
		var m struct{ Path, Version, Dir string }
		if err := decoder.Decode(&m); errors.Is(err, io.EOF) {
			return folders, nil
		} else if err != nil {
			return nil, fmt.Errorf("list modules: %w", err)
		}
		folders[m.Path+"@"+m.Version] = m.Dir
	}
}

func goCommand(dir string, args ...string) ([]byte, error) {
	var problem bytes.Buffer
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Stderr = dir, &problem
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("run go %s: %w: %s", strings.Join(args, " "), err, problem.Bytes())
	}
	return out, nil
}
