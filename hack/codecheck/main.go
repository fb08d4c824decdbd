package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Where functions and files are judged too long to be read at once.
const (
	maxFileLines = 400
	maxFuncLines = 70
)

func main() {
	findings, err := check(".")
	if err != nil {
		fmt.Fprintf(os.Stderr, "codecheck: %v\n", err)
		os.Exit(1)
	}
	for _, f := range findings {
		fmt.Println(f)
	}
	if len(findings) > 0 {
		os.Exit(1)
	}
}

// checker gathers findings over all files.
type checker struct {
	fset       *token.FileSet
	findings   []string
	documented map[string]bool // by folder: some file has a package comment
}

// check judges every Go file below root and returns one line per finding, sorted.
func check(root string) ([]string, error) {
	c := &checker{fset: token.NewFileSet(), documented: map[string]bool{}}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "testdata" || path != root && strings.HasPrefix(entry.Name(), ".")):
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		file, err := parser.ParseFile(c.fset, path, nil, parser.ParseComments)
		if err != nil {
			return fmt.Errorf("parse: %w", err)
		}
		if !ast.IsGenerated(file) {
			c.file(path, file)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, dir := range slices.Sorted(maps.Keys(c.documented)) {
		if !c.documented[dir] {
			c.findings = append(c.findings, dir+": package has no comment: add a doc.go that says what it owns and refuses")
		}
	}
	slices.Sort(c.findings)
	return c.findings, nil
}

func (c *checker) report(pos token.Pos, format string, args ...any) {
	c.findings = append(c.findings, c.fset.Position(pos).String()+": "+fmt.Sprintf(format, args...))
}

func (c *checker) file(path string, file *ast.File) {
	if n := c.fset.File(file.Pos()).LineCount(); n > maxFileLines {
		c.report(file.Pos(), "file has %d lines, more than %d", n, maxFileLines)
	}
	c.todos(file)
	if strings.HasSuffix(path, "_test.go") {
		return
	}
	dir := filepath.Dir(path)
	c.documented[dir] = c.documented[dir] || file.Doc != nil
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			c.function(file, d)
		case *ast.GenDecl:
			c.declaration(d)
		}
	}
}

func (c *checker) todos(file *ast.File) {
	for _, group := range file.Comments {
		for _, comment := range group.List {
			for _, word := range []string{"TODO", "FIXME", "XXX"} {
				if strings.Contains(comment.Text, word+":") || strings.Contains(comment.Text, word+" ") {
					c.report(comment.Pos(), "%s: do it, or open an issue and leave no mark here", word)
				}
			}
		}
	}
}

func (c *checker) function(file *ast.File, f *ast.FuncDecl) {
	if n := c.fset.Position(f.End()).Line - c.fset.Position(f.Pos()).Line + 1; n > maxFuncLines {
		c.report(f.Pos(), "function %s has %d lines, more than %d", f.Name.Name, n, maxFuncLines)
	}
	if f.Name.IsExported() && f.Doc == nil && exportedReceiver(f) && file.Name.Name != "main" {
		c.report(f.Pos(), "exported %s has no comment", f.Name.Name)
	}
	if file.Name.Name == "main" || importsTesting(file) {
		return
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "Exit" {
			if pkg, ok := s.X.(*ast.Ident); ok && pkg.Name == "os" {
				c.report(s.Pos(), "os.Exit outside of a main package: return an error")
			}
		}
		return true
	})
}

// importsTesting says whether a file helps tests, such as one that runs a TestMain.
func importsTesting(file *ast.File) bool {
	return slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"testing"` })
}

// exportedReceiver says whether f is a function, or a method that users of the package can see.
func exportedReceiver(f *ast.FuncDecl) bool {
	if f.Recv == nil || len(f.Recv.List) == 0 {
		return true
	}
	t := f.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return true
		}
	}
}

// declaration reports exported types, constants and variables that neither have a comment nor stand in a group that has one.
func (c *checker) declaration(d *ast.GenDecl) {
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			if s.Name.IsExported() && s.Doc == nil && d.Doc == nil {
				c.report(s.Pos(), "exported %s has no comment", s.Name.Name)
			}
		case *ast.ValueSpec:
			for _, name := range s.Names {
				if name.IsExported() && s.Doc == nil && d.Doc == nil && s.Comment == nil {
					c.report(s.Pos(), "exported %s has no comment", name.Name)
				}
			}
		}
	}
}
