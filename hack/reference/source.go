package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// source is what the Go files of the API say.
type source struct {
	types  map[string]*apiType
	groups []constGroup
}

// apiType is a struct, or a string with a few values.
type apiType struct {
	name    string
	doc     string
	markers []string
	fields  []field
	// basic is the type below a named one that is no struct.
	basic string
}

// field is one field of a struct.
type field struct {
	json    string
	doc     string
	markers []string
	// typ is the Go type without pointer and brackets.
	typ  string
	list bool
	// embedded is a struct whose fields stand in this place.
	embedded bool
}

// constGroup is one block of constants.
type constGroup struct {
	doc    string
	consts []constant
}

type constant struct {
	name, value, doc, typ string
}

// parseSource reads the Go files of a folder, tests and generated files left out.
func parseSource(dir string) (*source, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	s := &source{types: map[string]*apiType{}}
	for _, path := range paths {
		if name := filepath.Base(path); strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "zz_") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return nil, fmt.Errorf("parse %s: %w", path, err)
		}
		for _, decl := range file.Decls {
			d, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			if err := s.declaration(d); err != nil {
				return nil, fmt.Errorf("read %s: %w", path, err)
			}
		}
	}
	if len(s.types) == 0 {
		return nil, fmt.Errorf("no types in %s", dir)
	}
	return s, nil
}

func (s *source) declaration(d *ast.GenDecl) error {
	if d.Tok == token.CONST {
		return s.constants(d)
	}
	for _, spec := range d.Specs {
		t, ok := spec.(*ast.TypeSpec)
		if !ok {
			continue
		}
		doc, markers := comment(d.Doc)
		out := &apiType{name: t.Name.Name, doc: doc, markers: markers}
		switch x := t.Type.(type) {
		case *ast.StructType:
			if err := out.structure(x); err != nil {
				return fmt.Errorf("type %s: %w", out.name, err)
			}
		default:
			out.basic, _ = typeName(x)
		}
		s.types[out.name] = out
	}
	return nil
}

func (t *apiType) structure(x *ast.StructType) error {
	for _, f := range x.Fields.List {
		typ, list := typeName(f.Type)
		if f.Tag == nil {
			return fmt.Errorf("a field of type %s has no tag", typ)
		}
		tag, err := strconv.Unquote(f.Tag.Value)
		if err != nil {
			return err
		}
		name, options, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
		if name == "" && strings.Contains(options, "inline") {
			t.fields = append(t.fields, field{typ: typ, embedded: true})
			continue
		}
		doc, markers := comment(f.Doc)
		t.fields = append(t.fields, field{json: name, doc: doc, markers: markers, typ: typ, list: list})
	}
	return nil
}

// constants keeps a block of constants. A group of one line counts as a block without a comment of its own.
func (s *source) constants(d *ast.GenDecl) error {
	var g constGroup
	if d.Lparen.IsValid() {
		g.doc, _ = comment(d.Doc)
	}
	typ := ""
	for _, spec := range d.Specs {
		v := spec.(*ast.ValueSpec)
		if v.Type != nil {
			typ, _ = typeName(v.Type)
		}
		for i, name := range v.Names {
			if i >= len(v.Values) {
				return fmt.Errorf("constant %s has no value of its own", name.Name)
			}
			literal, ok := v.Values[i].(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				continue
			}
			value, err := strconv.Unquote(literal.Value)
			if err != nil {
				return err
			}
			doc, _ := comment(v.Doc)
			if doc == "" && !d.Lparen.IsValid() {
				doc, _ = comment(d.Doc)
			}
			g.consts = append(g.consts, constant{name: name.Name, value: value, doc: doc, typ: typ})
		}
	}
	s.groups = append(s.groups, g)
	return nil
}

// comment returns the sentences of a comment in one line, and its markers.
func comment(c *ast.CommentGroup) (doc string, markers []string) {
	if c == nil {
		return "", nil
	}
	var words []string
	for line := range strings.Lines(c.Text()) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "+") {
			markers = append(markers, line)
			continue
		}
		words = append(words, line)
	}
	return strings.TrimSpace(strings.Join(words, " ")), markers
}

func typeName(x ast.Expr) (name string, list bool) {
	switch x := x.(type) {
	case *ast.StarExpr:
		return typeName(x.X)
	case *ast.ArrayType:
		name, _ = typeName(x.Elt)
		return name, true
	case *ast.SelectorExpr:
		return x.Sel.Name, false
	case *ast.Ident:
		return x.Name, false
	}
	return "", false
}

// values are the constants of a string type, in their order.
func (s *source) values(typ string) []constant {
	var out []constant
	for _, g := range s.groups {
		for _, c := range g.consts {
			if c.typ == typ {
				out = append(out, c)
			}
		}
	}
	return out
}

// named returns the constants whose names begin with a prefix, by name.
func (s *source) named(prefix string) map[string]constant {
	out := map[string]constant{}
	for _, g := range s.groups {
		for _, c := range g.consts {
			if strings.HasPrefix(c.name, prefix) && c.typ == "" {
				out[c.name] = c
			}
		}
	}
	return out
}

// allFields are the fields of a type, those of embedded types among them. What is embedded of Kubernetes' own is left out.
func (s *source) allFields(t *apiType) []field {
	var out []field
	for _, f := range t.fields {
		switch embedded := s.types[f.typ]; {
		case !f.embedded:
			out = append(out, f)
		case embedded != nil:
			out = append(out, s.allFields(embedded)...)
		}
	}
	return out
}

// kinds are the types that are objects of their own, in a fixed order: what users write comes first.
func (s *source) kinds() []*apiType {
	var out []*apiType
	for _, name := range slices.Sorted(maps.Keys(s.types)) {
		t := s.types[name]
		if slices.Contains(t.markers, "+kubebuilder:object:root=true") && !strings.HasSuffix(name, "List") {
			out = append(out, t)
		}
	}
	slices.SortStableFunc(out, func(a, b *apiType) int { return order(a.name) - order(b.name) })
	return out
}

func order(kind string) int {
	return slices.Index([]string{"NodeNetwork", "SubnetLease", "NetworkConfig"}, kind) * -1
}

var rule = regexp.MustCompile(`XValidation:.*message="((?:[^"\\]|\\.)*)"`)

// rules are the sentences with which the API server refuses what breaks a rule.
func rules(markers []string) []string {
	var out []string
	for _, m := range markers {
		if found := rule.FindStringSubmatch(m); found != nil {
			out = append(out, found[1])
		}
	}
	return out
}

// marker returns what stands behind the = of a marker, and whether it is there.
func marker(markers []string, name string) (string, bool) {
	for _, m := range markers {
		if value, ok := strings.CutPrefix(m, "+kubebuilder:"+name+"="); ok {
			return value, true
		}
	}
	return "", false
}
