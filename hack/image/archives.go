package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// member is a file of an archive.
type member struct {
	name string
	perm os.FileMode
	data []byte
}

// kubectlArchives makes an archive of kubectl-hopsack for each platform.
func (b *builder) kubectlArchives() error {
	for _, platform := range b.opts.kubectl {
		program, err := b.goBuild(platform, module+"/cmd/kubectl-hopsack")
		if err != nil {
			return err
		}
		p, err := b.describe("kubectl-hopsack", platform, nil, program)
		if err != nil {
			return err
		}
		name := "kubectl-hopsack"
		windows := strings.HasPrefix(platform, "windows/")
		if windows {
			name += ".exe"
		}
		members, err := b.members(p, map[string]string{name: program})
		if err != nil {
			return err
		}
		if !windows {
			completion, err := os.ReadFile("cmd/kubectl-hopsack/kubectl_complete-hopsack")
			if err != nil {
				return err
			}
			members = append(members, member{"kubectl_complete-hopsack", 0o755, completion})
		}
		if err := b.pack("kubectl-hopsack", platform, windows, members); err != nil {
			return err
		}
	}
	return nil
}

// nodeArchives makes an archive of what runs the agent as a service of the host.
func (b *builder) nodeArchives() error {
	for _, platform := range b.opts.platforms {
		agent, cni, err := b.nodePrograms(platform)
		if err != nil {
			return err
		}
		programs, binaries := map[string]string{"bin/hopsack-agent": agent}, []string{agent}
		for name, file := range cni {
			programs["lib/hopsack/cni/"+name] = file
			binaries = append(binaries, file)
		}
		p, err := b.describe("hopsack-node", platform, nil, binaries...)
		if err != nil {
			return err
		}
		members, err := b.members(p, programs)
		if err != nil {
			return err
		}
		units, err := os.ReadDir("config/systemd")
		if err != nil {
			return err
		}
		for _, u := range units {
			data, err := os.ReadFile("config/systemd/" + u.Name())
			if err != nil {
				return err
			}
			members = append(members, member{"share/hopsack/systemd/" + u.Name(), 0o644, data})
		}
		if err := b.pack("hopsack-node", platform, false, members); err != nil {
			return err
		}
	}
	return nil
}

// members are programs, by the names they get, and their papers.
func (b *builder) members(p papers, programs map[string]string) ([]member, error) {
	members := []member{{"share/doc/hopsack/LICENCES.txt", 0o644, p.licences}, {"share/doc/hopsack/sbom.spdx.json", 0o644, p.bill}}
	for name, file := range programs {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		members = append(members, member{name, 0o755, data})
	}
	return members, nil
}

// pack writes an archive: zip for Windows, tar.gz for the rest.
func (b *builder) pack(name, platform string, asZip bool, members []member) error {
	folder := fmt.Sprintf("%s_%s_%s", name, b.opts.version, strings.ReplaceAll(platform, "/", "_"))
	var out bytes.Buffer
	write, extension := writeTar, ".tar.gz"
	if asZip {
		write, extension = writeZip, ".zip"
	}
	if err := write(&out, folder, sorted(members)); err != nil {
		return err
	}
	fmt.Fprintf(os.Stdout, "%s: %.1f MB\n", folder+extension, float64(out.Len())/1e6)
	return b.write(folder+extension, out.Bytes())
}

func writeTar(out *bytes.Buffer, folder string, members []member) error {
	z, err := gzip.NewWriterLevel(out, gzip.BestCompression)
	if err != nil {
		return err
	}
	w := tar.NewWriter(z)
	for _, m := range members {
		h := &tar.Header{
			Name: path.Join(folder, m.name), Mode: int64(m.perm), Size: int64(len(m.data)), Typeflag: tar.TypeReg,
			ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR,
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := w.Write(m.data); err != nil {
			return err
		}
	}
	return errors.Join(w.Close(), z.Close())
}

func writeZip(out *bytes.Buffer, folder string, members []member) error {
	w := zip.NewWriter(out)
	for _, m := range members {
		h := &zip.FileHeader{Name: path.Join(folder, m.name), Method: zip.Deflate}
		h.SetMode(m.perm)
		f, err := w.CreateHeader(h)
		if err != nil {
			return err
		}
		if _, err := f.Write(m.data); err != nil {
			return err
		}
	}
	return w.Close()
}

// sorted orders the members of an archive by name: maps have no order.
func sorted(members []member) []member {
	return slices.SortedFunc(slices.Values(members), func(a, b member) int { return strings.Compare(a.name, b.name) })
}
