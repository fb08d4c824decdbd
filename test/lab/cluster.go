package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/hopsack-net/hopsack/test/lab/internal/proc"
)

// DirEnv names the environment variable that replaces the default state directory.
const DirEnv = "HOPSACK_LAB_DIR"

// runDir holds what must not outlive a boot: the owner of the lab and the records of its processes.
const runDir = "/run/hopsack-lab"

const modulePath = "github.com/hopsack-net/hopsack"

// Cluster is a handle on the lab in one state directory. It may be used by several goroutines.
type Cluster struct {
	dir    string
	root   string
	binDir string
	helper string
	out    io.Writer
	procs  proc.Store
}

// Config says where a Cluster finds what it needs. The zero value is right inside the repository.
type Config struct {
	// Dir is the state directory; empty: $HOPSACK_LAB_DIR, else .lab in the repository.
	Dir string
	// Root is the repository; empty: found from the working directory, else from the program's own path.
	Root string
	// BinDir holds hopsack-controller, hopsack-agent, hopsack-cni, lab, cni/ and controlplane/; empty: what the lab was
	// started with, else Root/bin.
	BinDir string
	// Helper is the program that answers the hidden subcommands (see RunHidden); empty: BinDir/lab.
	Helper string
	// Out takes progress, one line per step; nil: none.
	Out io.Writer
}

// Open returns a handle on the lab whose state is in dir; empty means the default of Config.Dir. The lab need not be up.
func Open(dir string) (*Cluster, error) { return OpenConfig(Config{Dir: dir}) }

// OpenConfig is Open with every place given.
func OpenConfig(cfg Config) (*Cluster, error) {
	c := &Cluster{dir: cfg.Dir, root: cfg.Root, binDir: cfg.BinDir, helper: cfg.Helper, out: cfg.Out}
	var err error
	if c.root == "" {
		if c.root, err = findRoot(); err != nil {
			return nil, err
		}
	}
	if c.dir == "" {
		c.dir = os.Getenv(DirEnv)
	}
	if c.dir == "" {
		c.dir = filepath.Join(c.root, ".lab")
	}
	if c.binDir == "" {
		c.binDir = filepath.Join(c.root, "bin")
		// A lab that is up goes on with the programs it was started with.
		if s, err := c.load(); err == nil && s.BinDir != "" {
			c.binDir = s.BinDir
		}
	}
	if c.helper == "" {
		c.helper = filepath.Join(c.binDir, "lab")
	}
	if c.out == nil {
		c.out = io.Discard
	}
	for _, path := range []*string{&c.dir, &c.root, &c.binDir, &c.helper} {
		if *path, err = filepath.Abs(*path); err != nil {
			return nil, err
		}
	}
	c.procs = proc.Store{Dir: runDir}
	return c, nil
}

// Dir is the state directory.
func (c *Cluster) Dir() string { return c.dir }

// KubeconfigPath is the administrator's kubeconfig. Its server is reachable from inside the lab only; see RESTConfig.
func (c *Cluster) KubeconfigPath() string { return filepath.Join(c.dir, "kubeconfig") }

// LogPath is the file that the component's output is appended to.
func (c *Cluster) LogPath(component string) string {
	return filepath.Join(c.dir, "logs", strings.ReplaceAll(component, "/", "-")+".log")
}

func (c *Cluster) path(elem ...string) string {
	return filepath.Join(append([]string{c.dir}, elem...)...)
}

func (c *Cluster) controlPlaneBin(name string) string {
	return filepath.Join(c.binDir, "controlplane", name)
}

func (c *Cluster) say(format string, args ...any) {
	fmt.Fprintf(c.out, format+"\n", args...)
}

// findRoot looks for the repository upwards from the working directory, then from the program.
func findRoot() (string, error) {
	var starts []string
	if dir, err := os.Getwd(); err == nil {
		starts = append(starts, dir)
	}
	if exe, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(exe))
	}
	for _, dir := range starts {
		for {
			if isRoot(dir) {
				return dir, nil
			}
			parent := filepath.Dir(dir)
			if parent == dir {
				break
			}
			dir = parent
		}
	}
	return "", errors.New("find the repository: no go.mod of " + modulePath + " above the working directory or the program")
}

func isRoot(dir string) bool {
	f, err := os.Open(filepath.Join(dir, "go.mod"))
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if strings.TrimSpace(lines.Text()) == "module "+modulePath {
			return true
		}
	}
	return false
}
