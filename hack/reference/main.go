package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	out := flag.String("out", "docs/reference.md", "`file` to write")
	api := flag.String("api", "api/v1alpha1", "`folder` of the types")
	flag.Parse()
	if err := run(*api, *out); err != nil {
		fmt.Fprintln(os.Stderr, "reference:", err)
		os.Exit(1)
	}
}

func run(api, out string) error {
	page, err := generate(api)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	return os.WriteFile(out, []byte(page), 0o644)
}

// generate returns the page.
func generate(api string) (string, error) {
	s, err := parseSource(api)
	if err != nil {
		return "", err
	}
	d, err := readDefaults()
	if err != nil {
		return "", err
	}
	p := &page{source: s, defaults: d, sections: map[string]string{}, explained: map[string]bool{}}
	return p.render()
}
