package oci

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	mediaIndex     = "application/vnd.oci.image.index.v1+json"
	mediaManifest  = "application/vnd.oci.image.manifest.v1+json"
	mediaConfig    = "application/vnd.oci.image.config.v1+json"
	mediaLayer     = "application/vnd.oci.image.layer.v1.tar"
	mediaLayerGzip = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// The annotations of an archive's index that say what an image is called: containerd's, and the one of the specification,
// which holds the tag alone.
const (
	annotationName = "io.containerd.image.name"
	annotationTag  = "org.opencontainers.image.ref.name"
)

// Platform is what an image runs on.
type Platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

// Config is what a container of the image does unless told otherwise. The zero value is valid.
type Config struct {
	// User is a numeric "uid" or "uid:gid"; empty is root.
	User         string              `json:"User,omitempty"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
	Env          []string            `json:"Env,omitempty"`
	Entrypoint   []string            `json:"Entrypoint,omitempty"`
	Cmd          []string            `json:"Cmd,omitempty"`
	WorkingDir   string              `json:"WorkingDir,omitempty"`
	Labels       map[string]string   `json:"Labels,omitempty"`
}

// Image is an image for one platform.
type Image struct {
	// Platform is required.
	Platform Platform
	Config   Config
	// Layers lie upon each other, the lowest first; at least one.
	Layers []Layer
	// Created is the time the image claims to be from; zero: the beginning of 1970.
	Created time.Time
}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    *Platform         `json:"platform,omitempty"`
}

type imageIndex struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

type imageManifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

type imageConfig struct {
	Created time.Time `json:"created"`
	Platform
	Config Config `json:"config"`
	RootFS rootFS `json:"rootfs"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

// Archive is an image, for one platform or several, under one name or several.
type Archive struct {
	// Names are full references, for example "registry.k8s.io/pause:3.10.2"; at least one.
	Names []string
	// Images are the platforms; with more than one, the name stands for an index of them.
	Images []Image
}

// Digest is that of the manifest, or of the index where there are several platforms: what a registry would answer to.
func (a Archive) Digest() (string, error) {
	top, _, err := a.build()
	return top.Digest, err
}

// WriteFile writes the archive to path, which never holds a part of it, and returns the image's digest.
func (a Archive) WriteFile(path string) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".tmp.*")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	sum, err := a.Write(f)
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	return sum, os.Rename(f.Name(), path)
}

// Write writes the archive and returns the image's digest.
func (a Archive) Write(out io.Writer) (string, error) {
	top, blobs, err := a.build()
	if err != nil {
		return "", err
	}
	index := imageIndex{SchemaVersion: 2, MediaType: mediaIndex}
	for _, name := range a.Names {
		d := top
		d.Annotations = map[string]string{annotationName: name}
		if tag := tagOf(name); tag != "" {
			d.Annotations[annotationTag] = tag
		}
		index.Manifests = append(index.Manifests, d)
	}
	list, err := json.Marshal(index)
	if err != nil {
		return "", err
	}
	w := tar.NewWriter(out)
	err = errors.Join(put(w, "oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)), put(w, "index.json", list))
	written := map[string]bool{}
	for _, b := range blobs {
		// Platforms may have layers in common.
		if name := "blobs/" + strings.Replace(b.digest(), ":", "/", 1); !written[name] {
			written[name] = true
			err = errors.Join(err, put(w, name, b.data))
		}
	}
	return top.Digest, errors.Join(err, w.Close())
}

func put(w *tar.Writer, name string, data []byte) error {
	h := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.Write(data)
	return err
}

// build returns the descriptor the names point to and every blob below it, itself included.
func (a Archive) build() (descriptor, []blob, error) {
	if len(a.Names) == 0 || len(a.Images) == 0 {
		return descriptor{}, nil, errors.New("make archive: a name and an image are required")
	}
	index := imageIndex{SchemaVersion: 2, MediaType: mediaIndex}
	var blobs []blob
	for _, img := range a.Images {
		manifest, below, err := img.build()
		if err != nil {
			return descriptor{}, nil, err
		}
		d := manifest.descriptor()
		d.Platform = &img.Platform
		index.Manifests = append(index.Manifests, d)
		blobs = append(append(blobs, below...), manifest)
	}
	if len(index.Manifests) == 1 {
		return index.Manifests[0], blobs, nil
	}
	top, err := encode(mediaIndex, index)
	return top.descriptor(), append(blobs, top), err
}

// build returns the manifest and the blobs it refers to.
func (img Image) build() (blob, []blob, error) {
	if img.Platform.OS == "" || img.Platform.Architecture == "" || len(img.Layers) == 0 {
		return blob{}, nil, errors.New("make image: platform and layers are required")
	}
	created := img.Created
	if created.IsZero() {
		created = time.Unix(0, 0)
	}
	conf := imageConfig{Created: created.UTC(), Platform: img.Platform, Config: img.Config, RootFS: rootFS{Type: "layers"}}
	manifest := imageManifest{SchemaVersion: 2, MediaType: mediaManifest}
	var blobs []blob
	for _, l := range img.Layers {
		conf.RootFS.DiffIDs = append(conf.RootFS.DiffIDs, l.diffID)
		manifest.Layers = append(manifest.Layers, l.descriptor())
		blobs = append(blobs, l.blob)
	}
	c, err := encode(mediaConfig, conf)
	if err != nil {
		return blob{}, nil, err
	}
	manifest.Config = c.descriptor()
	m, err := encode(mediaManifest, manifest)
	return m, append(blobs, c), err
}

func encode(mediaType string, v any) (blob, error) {
	data, err := json.Marshal(v)
	return blob{mediaType: mediaType, data: data}, err
}

// tagOf returns the tag of a reference; a colon before the last slash belongs to a port.
func tagOf(name string) string {
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		return name[i+1:]
	}
	return ""
}
