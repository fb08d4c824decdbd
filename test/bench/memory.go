package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

const mebibyte = 1 << 20

// memoryState is what this process uses, in bytes.
type memoryState struct {
	rss, peak, allocated uint64
}

func readMemory() (memoryState, error) {
	rss, peak, err := residentMemory(os.Getpid())
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return memoryState{rss: rss, peak: peak, allocated: stats.TotalAlloc}, err
}

// since fills in what was used since start. The garbage is still counted in RSS, and no longer in Live.
func (m *memory) since(start memoryState) error {
	now, err := readMemory()
	if err != nil {
		return err
	}
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	mb := func(bytes uint64) float64 { return round(float64(bytes)/mebibyte, 1) }
	*m = memory{
		BaseRSS: mb(start.rss), RSS: mb(now.rss), PeakRSS: mb(now.peak), Alloc: mb(now.allocated - start.allocated), Live: mb(stats.HeapAlloc),
	}
	return nil
}

// residentMemory is VmRSS and VmHWM of a process in bytes.
func residentMemory(pid int) (rss, peak uint64, err error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), ":")
		if key != "VmRSS" && key != "VmHWM" {
			continue
		}
		kb, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("read %s of process %d: %w", key, pid, err)
		}
		if key == "VmRSS" {
			rss = kb * 1024
		} else {
			peak = kb * 1024
		}
	}
	if rss == 0 || peak == 0 {
		return 0, 0, fmt.Errorf("read memory of process %d: the kernel does not tell it", pid)
	}
	return rss, peak, nil
}
