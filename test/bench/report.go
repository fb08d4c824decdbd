package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"time"
)

// say prints progress.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// emit prints a case's one line.
func emit(result any) error {
	enc := json.NewEncoder(os.Stdout)
	enc.SetEscapeHTML(false) // names of paths hold "->"
	if err := enc.Encode(result); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// sample is what was measured of one thing.
type sample []time.Duration

// took adds the time that f takes.
func (s *sample) took(f func() error) error {
	start := time.Now()
	err := f()
	*s = append(*s, time.Since(start))
	return err
}

// p is the q-quantile, the smallest measured value that at least the share q of all do not exceed; 0 when there is none.
func (s sample) p(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

func (s sample) p50() time.Duration { return s.p(0.5) }

// ms is a time in milliseconds, to the microsecond.
func ms(d time.Duration) float64 { return round(d.Seconds()*1000, 3) }

// ratio is ours divided by the reference, or 0 when there is no reference.
func ratio[T ~int64 | ~float64](ours, reference T) float64 {
	if reference == 0 {
		return 0
	}
	return round(float64(ours)/float64(reference), 2)
}

func round(v float64, digits int) float64 {
	unit := math.Pow10(digits)
	return math.Round(v*unit) / unit
}

// median is the middle one of some figures; 0 when there is none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)-1)/2]
}
