package docs

import (
	"regexp"
	"strings"
)

var (
	// passing are lines that depend on the moment: how far a change was when somebody looked.
	passing = regexp.MustCompile(`^(\[\S+\] revision |waiting for )`)
	// What differs from run to run: hashes of revisions, times, ages.
	hash     = regexp.MustCompile(`\b[0-9a-f]{8}\b`)
	duration = regexp.MustCompile(`\b(\d+h)?(\d+m)?\d+(\.\d+)?(ms|s|µs|m|h|d)\b`)
	subnet   = regexp.MustCompile(`\b10\.244\.\d+\.`) // which node got which is chance
	blanks   = regexp.MustCompile(`\s+`)
)

// Missing returns the lines that a page shows and that are not among those printed. What differs from run to run is not
// compared, nor is the order of lines; "…" stands for any text.
func Missing(shown []string, printed string) []string {
	var have []string
	for line := range strings.Lines(printed) {
		have = append(have, settle(line))
	}
	var out []string
	for _, line := range shown {
		if passing.MatchString(line) {
			continue
		}
		pattern := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(settle(line)), "…", ".*") + "$")
		found := false
		for _, h := range have {
			found = found || pattern.MatchString(h)
		}
		if !found {
			out = append(out, line)
		}
	}
	return out
}

// settle replaces what differs from run to run.
func settle(line string) string {
	line = hash.ReplaceAllString(line, "HASH")
	line = subnet.ReplaceAllString(line, "10.244.N.")
	line = duration.ReplaceAllString(line, "TIME")
	return strings.TrimSpace(blanks.ReplaceAllString(line, " "))
}
