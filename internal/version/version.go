package version

import (
	"fmt"
	"runtime"
)

// Version is the release, for example "v0.1.0"; set with -ldflags "-X .../internal/version.Version=v0.1.0".
var Version = "unreleased"

// Line is what --version prints after the program's name: release, Go version and platform.
func Line() string {
	return fmt.Sprintf("%s (%s %s/%s)", Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
