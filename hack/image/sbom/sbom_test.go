package sbom

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hopsack-net/hopsack/hack/image/debian"
)

// document is about this test's own binary.
func document(t *testing.T) Document {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	modules, err := Modules(self)
	if err != nil {
		t.Fatal(err)
	}
	folders, err := Folders(filepath.Join("..", "..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	licences, err := Licences(modules, folders)
	if err != nil {
		t.Fatal(err)
	}
	return Document{
		Name: "hopsack-test linux/amd64", Version: "v1.2.3", Modules: modules, Licences: licences,
		Packages: []debian.Package{{Arch: "amd64", Name: "libgmp10", Version: "2:6.3.0+dfsg-3", SHA256: strings.Repeat("a", 64)}},
	}
}

func TestSPDX(t *testing.T) {
	first, err := document(t).SPDX()
	if err != nil {
		t.Fatal(err)
	}
	second, err := document(t).SPDX()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Error("the same content gave two documents")
	}
	var doc spdxDocument
	if err := json.Unmarshal(first, &doc); err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	var purls []string
	for _, p := range doc.Packages {
		if ids[p.SPDXID] || notInID.MatchString(p.SPDXID) {
			t.Errorf("identifier %q is not valid, or not the only one", p.SPDXID)
		}
		ids[p.SPDXID] = true
		for _, r := range p.ExternalRefs {
			purls = append(purls, r.Locator)
		}
	}
	for _, want := range []string{"pkg:golang/stdlib@1", "pkg:deb/debian/libgmp10@2%3A6.3.0%2Bdfsg-3?arch=amd64"} {
		if !strings.Contains(strings.Join(purls, "\n"), want) {
			t.Errorf("no %s among %q", want, purls)
		}
	}
	if len(doc.Relationships) != len(doc.Packages) {
		t.Errorf("%d relationships for %d packages", len(doc.Relationships), len(doc.Packages))
	}
}

func TestLicencesOfEveryModule(t *testing.T) {
	d := document(t)
	texts := string(Texts(d.Modules, d.Licences))
	for _, m := range d.Modules {
		if !strings.Contains(texts, m.Path+" "+m.Version+": ") {
			t.Errorf("no terms of %s", m.Path)
		}
	}
	if got := d.Licences[d.Modules[slices.IndexFunc(d.Modules, func(m Module) bool { return m.Path == stdlib })]].ID; got != "BSD-3-Clause" {
		t.Errorf("standard library: got %s, want BSD-3-Clause", got)
	}
	empty := Module{Path: "example.org/none", Version: "v1"}
	for name, folders := range map[string]map[string]string{
		"without a licence": {"example.org/none@v1": t.TempDir()},
		"not there":         nil,
	} {
		if _, err := Licences([]Module{empty}, folders); err == nil {
			t.Errorf("a module %s was accepted", name)
		}
	}
}

func TestIdentify(t *testing.T) {
	for want, text := range map[string]string{
		"Apache-2.0":   "Apache License\n   Version 2.0, January 2004",
		"BSD-2-Clause": "Redistribution and use in source and binary forms, with or without modification, are permitted",
		"BSD-3-Clause": "Redistribution and use in source and\nbinary forms ... may be used to endorse or promote products",
		"MIT":          "Permission is hereby granted, free of charge, ... The above copyright notice and this permission notice shall",
		"":             "This product includes software developed at somewhere",
	} {
		if got := identify([]byte(text)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
