package manifests

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// A figure that nobody exports is an empty panel that nobody notices.
func TestDashboardShowsFiguresThatExist(t *testing.T) {
	documented := read(t, "docs/metrics.md")
	suffix := regexp.MustCompile(`_(bucket|sum|count)$`)
	for _, name := range regexp.MustCompile(`hopsack_[a-z_]+`).FindAllString(read(t, "config/monitoring/dashboard.json"), -1) {
		if !strings.Contains(documented, "`"+suffix.ReplaceAllString(name, "")+"`") {
			t.Errorf("the dashboard shows %s, which docs/metrics.md does not know", name)
		}
	}
}

// The unit gives the agent what the DaemonSet gives it, but for folders of other users, and the loading of one module.
func TestUnit(t *testing.T) {
	settings := map[string][]string{}
	for line := range strings.Lines(read(t, "config/systemd/hopsack-agent.service")) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			settings[key] = append(settings[key], value)
		}
	}
	want := []string{"sys_module"}
	want = append(want, granted(t, "agent")...)
	var got []string
	for _, c := range strings.Fields(strings.Join(settings["CapabilityBoundingSet"], " ")) {
		got = append(got, strings.TrimPrefix(strings.ToLower(c), "cap_"))
	}
	want = slices.DeleteFunc(want, func(c string) bool { return c == "dac_override" })
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("capabilities (-DaemonSet +unit):\n%s", diff)
	}
	for key, value := range map[string]string{
		"Type": "notify", "NoNewPrivileges": "yes", "ProtectSystem": "strict", "RuntimeDirectoryPreserve": "yes", "RestrictNamespaces": "net",
	} {
		if !slices.Equal(settings[key], []string{value}) {
			t.Errorf("%s: got %q, want %q", key, settings[key], value)
		}
	}
}
