package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLayerHoldsTheTreeSortedAndWithoutTheMachine(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sub", "tool"), []byte("tool"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("tool", filepath.Join(dir, "sub", "alias")); err != nil {
		t.Fatal(err)
	}
	var tree Tree
	tree.Data("/etc/passwd", []byte("root"), 0o644)
	tree.Dir("tmp", fs.ModeSticky|0o777)
	tree.Symlink("bin/sh", "dash")
	tree.Data("bin/gone", nil, 0o644)
	tree.Remove("bin/gone")
	if err := tree.Merge("opt", dir); err != nil {
		t.Fatal(err)
	}
	layer, err := tree.Layer(false)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"bin/ 755", "bin/sh 777 -> dash", "etc/ 755", "etc/passwd 644 root",
		"opt/ " + perm(t, dir), "opt/sub/ 700", "opt/sub/alias 777 -> tool", "opt/sub/tool 750 tool", "tmp/ 1777",
	}
	if diff := cmp.Diff(want, list(t, layer.data)); diff != "" {
		t.Errorf("layer (-want +got):\n%s", diff)
	}
}

func perm(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimLeft(octal(int64(info.Mode().Perm())), "0")
}

func octal(v int64) string {
	var digits []byte
	for ; v > 0; v /= 8 {
		digits = append([]byte{byte('0' + v%8)}, digits...)
	}
	return string(digits)
}

// list prints a layer's entries and fails when one carries a time or an owner.
func list(t *testing.T, data []byte) []string {
	t.Helper()
	var out []string
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.ModTime.Unix() != 0 || h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.Gname != "" {
			t.Errorf("%s carries time or owner: %+v", h.Name, h)
		}
		line := h.Name + " " + octal(h.Mode)
		if h.Linkname != "" {
			line += " -> " + h.Linkname
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if len(content) > 0 {
			line += " " + string(content)
		}
		out = append(out, line)
	}
}

func TestLayerRefuses(t *testing.T) {
	var below Tree
	below.Symlink("lib", "usr/lib")
	below.Data("lib/a", nil, 0o644)
	if _, err := below.Layer(false); err == nil || !strings.Contains(err.Error(), "add lib/a: lib is not a directory") {
		t.Errorf("a file below a link: got %v", err)
	}
	var tree Tree
	if err := tree.File("dir", t.TempDir(), 0); err == nil {
		t.Error("a directory was taken for a file")
	}
	if err := tree.File("none", filepath.Join(t.TempDir(), "none"), 0); err == nil {
		t.Error("a missing file was added")
	}
}

func sample(t *testing.T, arch string, compress bool) Image {
	t.Helper()
	var common, own Tree
	common.Data("etc/os", []byte("common"), 0o644)
	own.Data("run", []byte(arch), 0o755)
	var layers []Layer
	for _, tree := range []*Tree{&common, &own} {
		l, err := tree.Layer(compress)
		if err != nil {
			t.Fatal(err)
		}
		layers = append(layers, l)
	}
	return Image{
		Platform: Platform{OS: "linux", Architecture: arch}, Layers: layers,
		Config: Config{User: "65532:65532", Entrypoint: []string{"/run"}, Labels: map[string]string{"b": "2", "a": "1"}},
	}
}

func TestArchive(t *testing.T) {
	for name, tc := range map[string]struct {
		archive   Archive
		mediaType string
		blobs     int
	}{
		"one platform, two names": {
			Archive{Names: []string{"example.org:5000/a/b:v1", "example.org:5000/a/b"}, Images: []Image{sample(t, "amd64", true)}}, mediaManifest, 4,
		},
		"two platforms with a layer in common": {
			Archive{Names: []string{"example.org/a:v1"}, Images: []Image{sample(t, "amd64", true), sample(t, "arm64", true)}}, mediaIndex, 8,
		},
		"not compressed": {
			Archive{Names: []string{"example.org/a:v1"}, Images: []Image{sample(t, "amd64", false)}}, mediaManifest, 4,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			sum, err := tc.archive.Write(&out)
			if err != nil {
				t.Fatal(err)
			}
			index, blobs := unpack(t, out.Bytes())
			if len(blobs) != tc.blobs {
				t.Errorf("got %d blobs, want %d", len(blobs), tc.blobs)
			}
			for i, d := range index.Manifests {
				if d.Digest != sum || d.MediaType != tc.mediaType || d.Annotations[annotationName] != tc.archive.Names[i] {
					t.Errorf("descriptor %d: got %+v", i, d)
				}
				follow(t, blobs, d)
			}
			if got := index.Manifests[0].Annotations[annotationTag]; got != "v1" {
				t.Errorf("tag: got %q, want v1", got)
			}
			var again bytes.Buffer
			if _, err := tc.archive.Write(&again); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(out.Bytes(), again.Bytes()) {
				t.Error("the same image gave two archives")
			}
		})
	}
}

// unpack reads an archive and checks that every blob has the name of its digest.
func unpack(t *testing.T, data []byte) (imageIndex, map[string][]byte) {
	t.Helper()
	var index imageIndex
	blobs := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return index, blobs
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		switch hash, ok := strings.CutPrefix(h.Name, "blobs/sha256/"); {
		case ok:
			if digest(content) != "sha256:"+hash {
				t.Errorf("blob %s has digest %s", hash, digest(content))
			}
			blobs["sha256:"+hash] = content
		case h.Name == "index.json":
			if err := json.Unmarshal(content, &index); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// follow checks that everything a descriptor leads to is there and fits.
func follow(t *testing.T, blobs map[string][]byte, d descriptor) {
	t.Helper()
	data, ok := blobs[d.Digest]
	if !ok || int64(len(data)) != d.Size {
		t.Fatalf("%s: got %d bytes, want %d", d.Digest, len(data), d.Size)
	}
	if d.MediaType == mediaIndex {
		var index imageIndex
		if err := json.Unmarshal(data, &index); err != nil {
			t.Fatal(err)
		}
		for _, below := range index.Manifests {
			follow(t, blobs, below)
		}
		return
	}
	var m imageManifest
	var c imageConfig
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(blobs[m.Config.Digest], &c); err != nil {
		t.Fatal(err)
	}
	if c.Architecture != d.Platform.Architecture || c.Config.User != "65532:65532" || !c.Created.Equal(time.Unix(0, 0)) {
		t.Errorf("configuration: got %+v", c)
	}
	for i, l := range m.Layers {
		content := blobs[l.Digest]
		if l.MediaType == mediaLayerGzip {
			z, err := gzip.NewReader(bytes.NewReader(content))
			if err != nil {
				t.Fatal(err)
			}
			if content, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		}
		if digest(content) != c.RootFS.DiffIDs[i] {
			t.Errorf("layer %d: got diff ID %s, want %s", i, c.RootFS.DiffIDs[i], digest(content))
		}
	}
}

func TestWriteFileLeavesNothingHalf(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.tar")
	if _, err := (Archive{Names: []string{"a"}}).WriteFile(path); err == nil {
		t.Error("an archive without an image was written")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 0 {
		t.Errorf("after a failure: got %v, %v; want an empty directory", entries, err)
	}
	a := Archive{Names: []string{"a"}, Images: []Image{sample(t, "amd64", false)}}
	sum, err := a.WriteFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want, err := a.Digest(); err != nil || sum != want {
		t.Errorf("got %s, want %s, %v", sum, want, err)
	}
}

func TestTreeWrite(t *testing.T) {
	var lower, upper Tree
	lower.Symlink("lib", "usr/lib")
	lower.Data("usr/lib/a.so", []byte("a"), 0o644)
	upper.Data("usr/bin/tool", []byte("tool"), 0o755)
	upper.Dir("tmp", fs.ModeSticky|0o777)
	dir := t.TempDir()
	for _, tree := range []*Tree{&lower, &upper} {
		if err := tree.Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	var again Tree
	if err := again.Merge("", dir); err != nil {
		t.Fatal(err)
	}
	layer, err := again.Layer(false)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"lib 777 -> usr/lib", "tmp/ 1777", "usr/ 755", "usr/bin/ 755", "usr/bin/tool 755 tool", "usr/lib/ 755", "usr/lib/a.so 644 a"}
	if diff := cmp.Diff(want, list(t, layer.data)); diff != "" {
		t.Errorf("written (-want +got):\n%s", diff)
	}
	if err := lower.Write(dir); err == nil {
		t.Error("a link was written over another one")
	}
}
