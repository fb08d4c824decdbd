package cni

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/plugins/plugins/ipam/host-local/backend/disk"

	"github.com/hopsack-net/hopsack/internal/handoff"
)

// GC releases the addresses, and removes the records, of attachments the runtime no longer knows. The reference plugins (1.9.1) accept GC and do
// nothing, so host-local's files are gone through here, under its own lock. Without a list of valid attachments it refuses:
// that is not an empty list, and releasing the addresses of running pods would hand them out twice.
func (p *Plugin) GC(args *skel.CmdArgs) error {
	conf, err := parseConf(args.StdinData)
	if err != nil {
		return err
	}
	valid := conf.ValidAttachments
	if valid == nil {
		valid = conf.Attachments
	}
	if valid == nil {
		return invalidConf("cni.dev/valid-attachments: missing, nothing is released")
	}
	released, err := releaseStale(conf.DataDir, conf.Name, *valid)
	for _, r := range released {
		p.say("released %s, container %s is gone", r.addr, r.attachment.ContainerID)
	}
	return errors.Join(err, removeStaleRecords(handoff.PodsDir(conf.Handoff), *valid))
}

// staleAfter is how old a record must be that is not finished, to be one that a plugin left behind when it died.
const staleAfter = time.Minute

// removeStaleRecords removes the records of pods that are of no valid attachment, and those that nobody can read.
func removeStaleRecords(dir string, valid []types.GCAttachment) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list records of pods: %w", err)
	}
	var errs []error
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), ".") {
			if info, err := e.Info(); err != nil || time.Since(info.ModTime()) < staleAfter {
				continue
			}
		} else if pod, err := handoff.ReadPod(path); err == nil &&
			stillValid(types.GCAttachment{ContainerID: pod.ContainerID, IfName: pod.IfName}, valid) {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove the record of a pod: %w", err))
		}
	}
	return errors.Join(errs...)
}

type reservation struct {
	addr       netip.Addr
	attachment types.GCAttachment
}

// releaseStale removes every reservation of the network that is of no valid attachment, tries each and joins the errors.
func releaseStale(dataDir, network string, valid []types.GCAttachment) (released []reservation, err error) {
	dir := filepath.Join(dataDir, network)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	store, err := disk.New(network, dataDir)
	if err != nil {
		return nil, fmt.Errorf("open addresses in use: %w", err)
	}
	defer store.Close()
	if err := store.Lock(); err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, store.Unlock()) }()

	reservations, err := readReservations(dir)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, r := range reservations {
		if stillValid(r.attachment, valid) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, r.addr.String())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("release %s: %w", r.addr, err))
			continue
		}
		released = append(released, r)
	}
	return released, errors.Join(errs...)
}

// readReservations reads host-local's files: one per address, named after it, holding container id and interface.
func readReservations(dir string) ([]reservation, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list addresses in use: %w", err)
	}
	var list []reservation
	for _, entry := range entries {
		addr, err := netip.ParseAddr(entry.Name())
		if err != nil {
			continue // the lock, the last address handed out
		}
		data, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("read who uses %s: %w", addr, err)
		}
		id, ifName, _ := strings.Cut(strings.TrimSpace(string(data)), disk.LineBreak)
		list = append(list, reservation{addr, types.GCAttachment{ContainerID: id, IfName: ifName}})
	}
	return list, nil
}

// stillValid says whether an attachment is in the list. Files of old releases of host-local name no interface: for them the
// container is enough.
func stillValid(a types.GCAttachment, valid []types.GCAttachment) bool {
	for _, v := range valid {
		if v.ContainerID == a.ContainerID && (v.IfName == a.IfName || a.IfName == "") {
			return true
		}
	}
	return false
}
