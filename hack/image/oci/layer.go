package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
)

// Layer is one layer of an image, complete and in memory.
type Layer struct {
	blob
	diffID string
}

// Size is the number of bytes of the layer as it is stored.
func (l Layer) Size() int64 { return int64(len(l.data)) }

// blob is a content-addressed part of an archive.
type blob struct {
	mediaType string
	data      []byte
}

func (b blob) digest() string { return digest(b.data) }

func (b blob) descriptor() descriptor {
	return descriptor{MediaType: b.mediaType, Digest: b.digest(), Size: int64(len(b.data))}
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Layer reads the files of the tree and packs them. A compressed layer is smaller, an uncompressed one is made and imported
// faster.
func (t *Tree) Layer(compress bool) (Layer, error) {
	var plain bytes.Buffer
	if err := t.pack(&plain); err != nil {
		return Layer{}, fmt.Errorf("make layer: %w", err)
	}
	l := Layer{blob: blob{mediaType: mediaLayer, data: plain.Bytes()}, diffID: digest(plain.Bytes())}
	if !compress {
		return l, nil
	}
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return Layer{}, err
	}
	if _, err := z.Write(plain.Bytes()); err != nil {
		return Layer{}, fmt.Errorf("compress layer: %w", err)
	}
	if err := z.Close(); err != nil {
		return Layer{}, fmt.Errorf("compress layer: %w", err)
	}
	l.blob = blob{mediaType: mediaLayerGzip, data: packed.Bytes()}
	return l, nil
}

func (t *Tree) pack(out io.Writer) error {
	names, err := t.names()
	if err != nil {
		return err
	}
	w := tar.NewWriter(out)
	for _, name := range names {
		if err := packEntry(w, name, t.get(name)); err != nil {
			return fmt.Errorf("pack %s: %w", name, err)
		}
	}
	return w.Close()
}

func packEntry(w *tar.Writer, name string, e entry) error {
	h := &tar.Header{Name: name, Mode: int64(e.mode.Perm()), Format: tar.FormatPAX}
	if e.mode&fs.ModeSticky != 0 {
		h.Mode |= 0o1000
	}
	var content []byte
	switch {
	case e.mode.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case e.mode&fs.ModeSymlink != 0:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.target
	default:
		var err error
		if content, err = e.content(); err != nil {
			return err
		}
		h.Typeflag, h.Size = tar.TypeReg, int64(len(content))
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}
