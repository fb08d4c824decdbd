package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// stage is a group of packages that run with one setting.
type stage struct {
	name     string
	prefixes []string // packages below these folders; none: all that no other stage names
	parallel string   // packages at a time
	timeout  string   // per package
}

// stages are in the order in which they run: what fails soonest first. Packages that build clusters run one at a time,
// because they measure time and share the machine's namespaces.
func stages() []stage {
	return []stage{
		{name: "unit and kernel", parallel: "2", timeout: "10m"},
		{name: "api", prefixes: []string{"test/crd", "test/cli", "test/controller", "test/manifests", "hack/chart"}, parallel: "1", timeout: "15m"},
		{name: "lab", prefixes: []string{"test/lab"}, parallel: "1", timeout: "20m"},
		{name: "kubelet", prefixes: []string{"test/lab/kubelet", "test/kubelet"}, parallel: "1", timeout: "20m"},
		{name: "end to end", prefixes: []string{"test/e2e", "test/bench", "test/scale"}, parallel: "1", timeout: "40m"},
	}
}

func main() {
	execWith := flag.String("exec", "", "command that runs the test programs, such as sudo (go test -exec)")
	only := flag.String("stage", "", "run only the stage of this name")
	flag.Parse()
	if err := run(*execWith, *only); err != nil {
		fmt.Fprintf(os.Stderr, "runtests: %v\n", err)
		os.Exit(1)
	}
}

func run(execWith, only string) error {
	module, packages, err := listPackages()
	if err != nil {
		return err
	}
	var results []*result
	for i, s := range stages() {
		selected := selectPackages(stages(), i, module, packages)
		if len(selected) == 0 || only != "" && only != s.name {
			continue
		}
		fmt.Printf("== %s: %d packages\n", s.name, len(selected))
		r := newResult(s.name, os.Stdout)
		if err := goTest(s, execWith, selected, r); err != nil {
			return err
		}
		results = append(results, r)
	}
	if len(results) == 0 {
		return fmt.Errorf("no packages in stage %q", only)
	}
	return summarize(os.Stdout, results)
}

// listPackages returns the module's path and the import paths of its packages.
func listPackages() (module string, packages []string, err error) {
	out, err := exec.Command("go", "list", "-f", "{{.Module.Path}} {{.ImportPath}}", "./...").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return "", nil, fmt.Errorf("list packages: %w\n%s", err, exit.Stderr)
		}
		return "", nil, fmt.Errorf("list packages: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		var path string
		module, path, _ = strings.Cut(strings.TrimSpace(line), " ")
		packages = append(packages, path)
	}
	return module, packages, nil
}

// selectPackages returns the packages of stage i: those that one of its prefixes fits best, or all that no stage claims.
func selectPackages(all []stage, i int, module string, packages []string) []string {
	var out []string
	for _, pkg := range packages {
		claimant, longest := -1, -1
		for j, s := range all {
			if len(s.prefixes) == 0 && longest < 0 {
				claimant = j
			}
			for _, prefix := range s.prefixes {
				path := module + "/" + prefix
				if (pkg == path || strings.HasPrefix(pkg, path+"/")) && len(path) > longest {
					claimant, longest = j, len(path)
				}
			}
		}
		if claimant == i {
			out = append(out, pkg)
		}
	}
	return out
}

// goTest runs go test over packages and feeds what it says to r. The error is about running it, not about tests that fail.
func goTest(s stage, execWith string, packages []string, r *result) error {
	args := []string{"test", "-json", "-count=1", "-p", s.parallel, "-timeout", s.timeout}
	if execWith != "" {
		args = append(args, "-exec", execWith)
	}
	cmd := exec.Command("go", append(args, packages...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("run go test: %w", err)
	}
	started := time.Now()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run go test: %w", err)
	}
	if err := r.read(out); err != nil {
		return err
	}
	err = cmd.Wait()
	r.elapsed = time.Since(started)
	// A failed test is in r already; anything else, such as a package that cannot be loaded, is only here.
	if err != nil && r.failures() == 0 {
		return fmt.Errorf("run go test: %w\n%s", err, stderr.String())
	}
	return nil
}
