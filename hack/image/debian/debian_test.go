package debian

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hopsack-net/hopsack/hack/image/oci"
)

// pack makes the archive inside of a package: content by path; "-> x" is a symbolic link.
func pack(t *testing.T, files map[string]string) *bytes.Reader {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, content := range files {
		h := &tar.Header{Name: "./" + name, Mode: 0o4755, Size: int64(len(content)), Typeflag: tar.TypeReg}
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			h.Typeflag, h.Linkname, h.Size, content = tar.TypeSymlink, target, 0, ""
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	return bytes.NewReader(out.Bytes())
}

func root(t *testing.T, packages map[string]map[string]string) *Root {
	t.Helper()
	r := &Root{files: map[string]file{}}
	for name, files := range packages {
		r.packages = append(r.packages, Package{Name: name, Arch: "amd64"})
		if err := r.read(name, pack(t, files)); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// dynamic is a program of this machine that needs libraries.
func dynamic(t *testing.T) (content string, needs []string) {
	t.Helper()
	for _, path := range []string{"/bin/sh", "/usr/bin/env"} {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if needs, err := needed(data); err == nil && len(needs) > 1 {
			return string(data), needs
		}
	}
	t.Fatal("this machine has no dynamic program to try with")
	return "", nil
}

func TestProgramsTakesWhatTheyNeedAndNothingElse(t *testing.T) {
	program, needs := dynamic(t)
	library := map[string]string{"usr/share/doc/libs/copyright": "libs", "usr/lib/x86_64-linux-gnu/other.so": "other"}
	want := []string{"usr/sbin/alias", "usr/sbin/tool", "usr/share/doc/libs/copyright", "usr/share/doc/tool/copyright"}
	for _, need := range needs {
		at := need
		if !strings.Contains(need, "/") {
			at = "usr/lib/x86_64-linux-gnu/" + need
		}
		library[clean(at)] = "-> " + filepath.Base(at) + ".1"
		library[clean(at)+".1"] = "library"
		want = append(want, clean(at), clean(at)+".1")
	}
	r := root(t, map[string]map[string]string{
		"tool": {"usr/sbin/tool": program, "usr/sbin/alias": "-> /sbin/tool", "usr/share/doc/tool/copyright": "-> ../libs/copyright", "usr/share/man/tool": "man"},
		"libs": library,
		"none": {"usr/bin/none": "none", "usr/share/doc/none/copyright": "none"},
	})
	var tree oci.Tree
	packages, err := r.Programs(&tree, "amd64", "usr/sbin/alias")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, p := range packages {
		got[p.Name] = true
	}
	if diff := cmp.Diff(map[string]bool{"tool": true, "libs": true}, got); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
	for _, name := range want {
		if !tree.Has(name) {
			t.Errorf("%s was not taken", name)
		}
	}
	for _, name := range []string{"usr/lib/x86_64-linux-gnu/other.so", "usr/bin/none", "usr/share/man/tool"} {
		if tree.Has(name) {
			t.Errorf("%s was taken", name)
		}
	}
}

func TestProgramsRefuses(t *testing.T) {
	program, _ := dynamic(t)
	doc := func(name string) string { return "usr/share/doc/" + name + "/copyright" }
	for name, tc := range map[string]struct {
		files map[string]string
		arch  string
		want  string
	}{
		"a program whose libraries nobody has": {map[string]string{"usr/sbin/tool": program, doc("tool"): "x"}, "amd64", "needs "},
		"nothing there":                        {map[string]string{doc("tool"): "x"}, "amd64", "no package has usr/sbin/tool"},
		"a link to nowhere":                    {map[string]string{"usr/sbin/tool": "-> none", doc("tool"): "x"}, "amd64", "no package has it"},
		"no copyright":                         {map[string]string{"usr/sbin/tool": "x"}, "amd64", "take the copyright of tool"},
		"another architecture":                 {map[string]string{"usr/sbin/tool": "x"}, "riscv64", `architecture "riscv64"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := root(t, map[string]map[string]string{"tool": tc.files}).Programs(&oci.Tree{}, tc.arch, "usr/sbin/tool")
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join("..", "debian.lock")
	amd64, err := ReadLock(path, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	arm64, err := ReadLock(path, "arm64")
	if err != nil {
		t.Fatal(err)
	}
	names := func(packages []Package) map[string]string {
		out := map[string]string{}
		for _, p := range packages {
			out[p.Name] = p.Version
		}
		return out
	}
	if diff := cmp.Diff(names(amd64), names(arm64)); diff != "" {
		t.Errorf("the architectures have different packages (-amd64 +arm64):\n%s", diff)
	}
	other := Package{Name: "x", SHA256: strings.Repeat("0", 64)}
	dir := t.TempDir()
	if err := os.WriteFile(other.File(dir), []byte("not it"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Unpack([]Package{other}, dir); err == nil || !strings.Contains(err.Error(), "not the one of the lock") {
		t.Errorf("a package that is another one: got %v", err)
	}
	bad := filepath.Join(dir, "lock")
	if err := os.WriteFile(bad, []byte("amd64 nftables 1.1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadLock(bad, "amd64"); err == nil {
		t.Error("a line without a hash was read")
	}
}
