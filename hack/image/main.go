package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
)

// options are the flags.
type options struct {
	version    string
	repository string
	out        string
	packages   string
	revision   string
	platforms  []string
	kubectl    []string
	only       []string
	compress   bool
	trees      string
}

// products are what -only picks from.
var products = []string{"controller", "agent", "kubectl", "node"}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	o, err := parse(os.Args[1:])
	if err == nil {
		err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var o options
	var platforms, kubectl, only string
	cache, err := os.UserCacheDir()
	if err != nil {
		return o, err
	}
	fs := flag.NewFlagSet("image", flag.ExitOnError)
	fs.StringVar(&o.version, "version", "", "`release`, also the images' tag; required")
	fs.StringVar(&o.repository, "repository", "ghcr.io/hopsack-net", "what stands before the images' names")
	fs.StringVar(&o.out, "out", "dist", "`folder` to write to")
	fs.StringVar(&o.packages, "packages", filepath.Join(cache, "hopsack", "debs"), "`folder` of Debian packages, filled as needed")
	fs.StringVar(&o.revision, "revision", "", "`commit` to label images with; empty: none, so that the same content has the same digest")
	fs.StringVar(&platforms, "platforms", "linux/amd64,linux/arm64", "platforms of images and nodes")
	fs.StringVar(&kubectl, "kubectl-platforms", "darwin/amd64,darwin/arm64,linux/amd64,linux/arm64,windows/amd64", "platforms of kubectl-hopsack")
	fs.StringVar(&only, "only", strings.Join(products, ","), "what to make")
	fs.BoolVar(&o.compress, "compress", true, "compress layers; without, archives are made and imported faster")
	fs.StringVar(&o.trees, "trees", "", "`folder` to write the files of images to as well, one folder per layer, for the Dockerfile; with one platform only")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	o.platforms, o.kubectl, o.only = strings.Split(platforms, ","), strings.Split(kubectl, ","), strings.Split(only, ",")
	for _, p := range o.only {
		if !slices.Contains(products, p) {
			return o, fmt.Errorf("-only %q is none of %s", p, strings.Join(products, ", "))
		}
	}
	if o.version == "" || fs.NArg() > 0 {
		return o, fmt.Errorf("usage: image -version v1.2.3 [flags]; -help lists them")
	}
	return o, nil
}

// run makes everything that was asked for.
func run(ctx context.Context, o options) error {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	b, err := newBuilder(ctx, o)
	if err != nil {
		return err
	}
	makers := map[string]func() error{"controller": b.controllerImage, "agent": b.agentImage, "kubectl": b.kubectlArchives, "node": b.nodeArchives}
	for _, p := range products {
		if slices.Contains(o.only, p) {
			if err := makers[p](); err != nil {
				return fmt.Errorf("make %s: %w", p, err)
			}
		}
	}
	return b.writeSums()
}

// fetch fills the folder of Debian packages.
func fetch(ctx context.Context, dir string) error {
	cmd := exec.CommandContext(ctx, "hack/image/debs.sh", "fetch", dir)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("fetch Debian packages: %w", err)
	}
	return nil
}
