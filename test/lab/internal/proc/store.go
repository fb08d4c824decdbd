package proc

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Store keeps records, one file each, in a directory.
type Store struct {
	// Dir is created when the first record is saved.
	Dir string
}

const suffix = ".process.json"

func (s Store) path(name string) string {
	return filepath.Join(s.Dir, strings.ReplaceAll(name, "/", "-")+suffix)
}

// Save writes r, replacing the record of that name.
func (s Store) Save(r Record) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return err
	}
	tmp := s.path(r.Name) + ".tmp"
	if err := os.WriteFile(tmp, raw, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, s.path(r.Name))
}

// Load returns the record called name; ErrGone when there is none.
func (s Store) Load(name string) (Record, error) {
	var r Record
	raw, err := os.ReadFile(s.path(name))
	if errors.Is(err, os.ErrNotExist) {
		return r, ErrGone
	}
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, fmt.Errorf("read record %s: %w", s.path(name), err)
	}
	return r, nil
}

// Remove forgets the record called name.
func (s Store) Remove(name string) error {
	err := os.Remove(s.path(name))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// List returns every record. Files that cannot be read are reported and left out.
func (s Store) List() ([]Record, error) {
	paths, err := filepath.Glob(filepath.Join(s.Dir, "*"+suffix))
	if err != nil {
		return nil, err
	}
	var records []Record
	var errs []error
	for _, path := range paths {
		var r Record
		raw, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(raw, &r)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("read record %s: %w", path, err))
			continue
		}
		records = append(records, r)
	}
	return records, errors.Join(errs...)
}
