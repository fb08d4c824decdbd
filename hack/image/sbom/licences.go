package sbom

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// licenceFile is how files are called that say under what terms something may be used.
var licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents|copyright)([-._].*)?$`)

// notTexts are files of such a name that are programs or data.
var notTexts = regexp.MustCompile(`(?i)\.(go|tmpl|json|ya?ml|sh|tpl|docs)$`)

// Licence is what a module's files say about its terms.
type Licence struct {
	// ID is the SPDX expression of the file at the top, NOASSERTION where it is not one of the usual texts.
	ID string
	// Files are the texts by their path in the module, for a module and what it has copied from others.
	Files map[string][]byte
}

// Licences reads the terms of modules; folders says where they lie.
func Licences(modules []Module, folders map[string]string) (map[Module]Licence, error) {
	out := map[Module]Licence{}
	var errs []error
	for _, m := range modules {
		dir := folders[m.Path+"@"+m.Version]
		if dir == "" {
			errs = append(errs, fmt.Errorf("read licence: %s %s is not in the module cache", m.Path, m.Version))
			continue
		}
		l, err := licence(m, dir)
		if err != nil {
			errs = append(errs, fmt.Errorf("read licence of %s: %w", m.Path, err))
		}
		out[m] = l
	}
	return out, errors.Join(errs...)
}

func licence(m Module, dir string) (Licence, error) {
	l := Licence{Files: map[string][]byte{}}
	var ids []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			// Of the Go tree, only the library is linked.
			if d.Name() == "testdata" || m.Path == stdlib && rel != "." {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || !licenceFile.MatchString(d.Name()) || notTexts.MatchString(d.Name()) {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		l.Files[filepath.ToSlash(rel)] = text
		if id := identify(text); filepath.Dir(rel) == "." && id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
		return nil
	})
	if err != nil {
		return l, err
	}
	if len(l.Files) == 0 {
		return l, errors.New("there is none")
	}
	slices.Sort(ids)
	l.ID = "NOASSERTION"
	if len(ids) > 0 {
		l.ID = strings.Join(ids, " AND ")
	}
	return l, nil
}

// marks are phrases of the usual texts, the more special first.
var marks = []struct {
	id      string
	phrases []string
}{
	{"Apache-2.0", []string{"Apache License", "Version 2.0"}},
	{"MPL-2.0", []string{"Mozilla Public License", "2.0"}},
	{"BSD-3-Clause", []string{"Redistribution and use in source and binary forms", "endorse or promote"}},
	{"BSD-2-Clause", []string{"Redistribution and use in source and binary forms"}},
	{"ISC", []string{"Permission to use, copy, modify, and", "distribute this software for any"}},
	{"MIT", []string{"Permission is hereby granted, free of charge", "The above copyright notice and this permission notice"}},
}

// identify names the licence that a text is, "" for an unusual one, and for notices.
func identify(text []byte) string {
	words := strings.Join(strings.Fields(string(text)), " ")
	for _, m := range marks {
		if !slices.ContainsFunc(m.phrases, func(p string) bool { return !strings.Contains(words, p) }) {
			return m.id
		}
	}
	return ""
}

// Texts prints every licence once, under the names of what it applies to.
func Texts(modules []Module, licences map[Module]Licence) []byte {
	type group struct {
		text []byte
		of   []string
	}
	var order [][sha256.Size]byte
	groups := map[[sha256.Size]byte]*group{}
	for _, m := range modules {
		files := licences[m].Files
		var names []string
		for name := range files {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			sum := sha256.Sum256(files[name])
			if groups[sum] == nil {
				groups[sum] = &group{text: files[name]}
				order = append(order, sum)
			}
			groups[sum].of = append(groups[sum].of, fmt.Sprintf("%s %s: %s", m.Path, m.Version, name))
		}
	}
	var out bytes.Buffer
	out.WriteString("Licences and notices of the Go modules that are linked in, each text once.\n")
	for _, sum := range order {
		fmt.Fprintf(&out, "\n%s\n%s\n%[1]s\n\n", strings.Repeat("=", 100), strings.Join(groups[sum].of, "\n"))
		out.Write(bytes.TrimRight(groups[sum].text, "\n"))
		out.WriteByte('\n')
	}
	return out.Bytes()
}
