package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// makeImages makes the images from the real Debian packages, with this test's binary in the place of every program: what is not
// compiled here is compiled in TestGoBuildTwice.
func makeImages(t *testing.T, out string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o, err := parse([]string{"-version", "v1.2.3", "-out", out, "-compress=false"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := newBuilder(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	programs := []string{module + "/cmd/hopsack-agent", module + "/cmd/hopsack-cni", module + "/cmd/hopsack-controller"}
	for _, p := range plugins {
		programs = append(programs, "github.com/containernetworking/plugins/plugins/"+p)
	}
	for _, p := range programs {
		for _, platform := range o.platforms {
			b.built[platform+" "+p] = self
		}
	}
	if err := errors.Join(b.controllerImage(), b.agentImage(), b.writeSums()); err != nil {
		t.Fatal(err)
	}
}

func TestImages(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	first, second := t.TempDir(), t.TempDir()
	makeImages(t, first)
	makeImages(t, second)
	sums, err := os.ReadFile(filepath.Join(first, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := os.ReadFile(filepath.Join(second, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(sums), string(again)); diff != "" {
		t.Errorf("two builds differ (-first +second):\n%s", diff)
	}
	for arch, linker := range map[string]string{"amd64": "usr/lib64/ld-linux-x86-64.so.2", "arm64": "usr/lib/ld-linux-aarch64.so.1"} {
		t.Run(arch, func(t *testing.T) {
			controller := unpack(t, filepath.Join(first, "hopsack-controller.tar"), arch)
			var files []string
			for name, kind := range controller.files {
				if kind == tar.TypeReg && !strings.HasPrefix(name, "usr/share/doc/") {
					files = append(files, name)
				}
			}
			slices.Sort(files)
			if diff := cmp.Diff([]string{"etc/ssl/certs/ca-certificates.crt", "usr/bin/hopsack-controller"}, files); diff != "" {
				t.Errorf("controller (-want +got):\n%s", diff)
			}
			if controller.user != "65532:65532" {
				t.Errorf("controller runs as %q", controller.user)
			}
			beside, err := os.ReadFile(filepath.Join(first, "hopsack-agent_linux_"+arch+".licences.txt"))
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"\nDebian package libgmp10 ", "/usr/share/common-licenses/GPL-2", "Lesser General", "Apache License", "stdlib "} {
				if !bytes.Contains(beside, []byte(want)) {
					t.Errorf("the licences beside the agent lack %q", want)
				}
			}
			agent := unpack(t, filepath.Join(first, "hopsack-agent.tar"), arch)
			for _, name := range []string{
				"usr/bin/hopsack-agent", "usr/sbin/nft", "usr/sbin/iptables-nft", "usr/sbin/iptables-legacy", "usr/sbin/ip6tables-nft",
				"usr/sbin/ip6tables-legacy", "usr/sbin/xtables-nft-multi", "usr/sbin/xtables-legacy-multi", linker,
				"usr/lib/hopsack/cni/hopsack", "usr/lib/hopsack/cni/bridge", "usr/lib/hopsack/cni/host-local",
				"usr/lib/hopsack/cni/portmap", "usr/lib/hopsack/cni/loopback", "usr/share/doc/libc6/copyright",
				"usr/share/doc/hopsack/sbom.spdx.json", "usr/share/doc/hopsack/LICENCES.txt", "usr/share/common-licenses/GPL-2",
			} {
				if _, ok := agent.files[name]; !ok {
					t.Errorf("agent lacks %s", name)
				}
			}
			for name := range agent.files {
				if strings.HasPrefix(name, "usr/share/man/") || strings.HasSuffix(name, "/sh") || strings.HasSuffix(name, "/bash") {
					t.Errorf("agent has %s", name)
				}
			}
		})
	}
}

// unpacked is an image: the kinds of its files by path, and whom it runs as.
type unpacked struct {
	files map[string]byte
	user  string
}

// unpack reads the image for one architecture from an archive.
func unpack(t *testing.T, path, arch string) unpacked {
	t.Helper()
	blobs := map[string][]byte{}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	each(t, data, func(h *tar.Header, content []byte) {
		blobs[strings.Replace(strings.TrimPrefix(h.Name, "blobs/"), "/", ":", 1)] = content
	})
	var index, images struct {
		Manifests []struct {
			Digest   string
			Platform struct{ Architecture string }
		}
	}
	decode(t, blobs["index.json"], &index)
	decode(t, blobs[index.Manifests[0].Digest], &images)
	for _, m := range images.Manifests {
		if m.Platform.Architecture != arch {
			continue
		}
		var manifest struct {
			Config struct{ Digest string }
			Layers []struct{ Digest string }
		}
		var config struct{ Config struct{ User string } }
		decode(t, blobs[m.Digest], &manifest)
		decode(t, blobs[manifest.Config.Digest], &config)
		image := unpacked{files: map[string]byte{}, user: config.Config.User}
		for _, l := range manifest.Layers {
			each(t, blobs[l.Digest], func(h *tar.Header, _ []byte) { image.files[strings.TrimSuffix(h.Name, "/")] = h.Typeflag })
		}
		return image
	}
	t.Fatalf("%s has no image for %s", path, arch)
	return unpacked{}
}

func each(t *testing.T, data []byte, visit func(*tar.Header, []byte)) {
	t.Helper()
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		visit(h, content)
	}
}

func decode(t *testing.T, data []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

// The Dockerfile cannot be built here: what it says of the images must be what the images say of themselves.
func TestDockerfile(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	_, stages, _ := strings.Cut(string(data), "FROM scratch AS controller\n")
	controller, agent, ok := strings.Cut(stages, "FROM scratch AS agent\n")
	if !ok {
		t.Fatal("the Dockerfile has no stages controller and agent")
	}
	for stage, want := range map[string][]string{
		controller: {"COPY --from=build /out/hopsack-controller/1/ /\n", "USER " + nobody + "\n", "ENV PATH=" + searchPath + "\n", `ENTRYPOINT ["/usr/bin/hopsack-controller"]`},
		agent:      {"COPY --from=build /out/hopsack-agent/2/ /\n", "ENV PATH=" + searchPath + "\n", `ENTRYPOINT ["/usr/bin/hopsack-agent"]`},
	} {
		for _, line := range want {
			if !strings.Contains(stage, line) {
				t.Errorf("the Dockerfile lacks %q in:\n%s", line, stage)
			}
		}
	}
	if strings.Contains(agent, "USER") || strings.Contains(agent, "/3/") {
		t.Errorf("the stage of the agent says more than its image:\n%s", agent)
	}
}

// The smallest program, from here and from a copy of its sources in another folder: neither place may show.
func TestGoBuildTwice(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	copied := t.TempDir()
	if out, err := exec.Command("cp", "-r", "go.mod", "go.sum", "cmd", "cni", "internal", copied).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	build := func(dir string) []byte {
		t.Helper()
		t.Chdir(dir)
		b := &builder{ctx: t.Context(), opts: options{version: "v1.2.3", out: t.TempDir()}, built: map[string]string{}}
		path, err := b.goBuild("linux/amd64", module+"/cmd/hopsack-cni")
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	here, there := build("."), build(copied)
	if !bytes.Equal(here, there) {
		t.Error("the same sources in two folders gave two programs")
	}
	if !bytes.Contains(here, []byte("v1.2.3")) || bytes.Contains(there, []byte(copied)) {
		t.Error("the program lacks its release, or knows where it was built")
	}
}

func TestArchivesTwice(t *testing.T) {
	members := []member{{"b", 0o755, []byte("b")}, {"a", 0o644, []byte("a")}}
	backwards := []member{members[1], members[0]}
	for name, write := range map[string]func(*bytes.Buffer, string, []member) error{"tar": writeTar, "zip": writeZip} {
		var first, second bytes.Buffer
		if err := errors.Join(write(&first, "x", sorted(members)), write(&second, "x", sorted(backwards))); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Errorf("%s: the same members gave two archives", name)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, args := range [][]string{{}, {"-version", "v1", "-only", "shell"}, {"-version", "v1", "more"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
}
