package dockeropts

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// Format says which variables are written.
type Format int

// Formats.
const (
	// Both writes one variable per option and the combined one.
	Both Format = iota
	// Individual writes DOCKER_OPT_BIP, DOCKER_OPT_IPMASQ and DOCKER_OPT_MTU only.
	Individual
	// Combined writes the combined variable only.
	Combined
)

// DefaultKey is the name of the combined variable.
const DefaultKey = "DOCKER_OPTS"

// Options say how to write.
type Options struct {
	Format Format
	// Key is the name of the combined variable; empty means DefaultKey.
	Key string
	// IPMasq includes Docker's masquerade option. It is switched off in Docker when hopsack masquerades, and on otherwise:
	// exactly one of the two must.
	IPMasq bool
}

// Render reads subnet.env and returns lines for an environment file.
func Render(subnetEnv io.Reader, opts Options) (string, error) {
	env, err := parse(subnetEnv)
	if err != nil {
		return "", err
	}
	type option struct{ variable, value string }
	var options []option
	prefix, err := netip.ParsePrefix(env["FLANNEL_SUBNET"])
	if err != nil {
		return "", fmt.Errorf("FLANNEL_SUBNET: %q is not an address with a prefix length", env["FLANNEL_SUBNET"])
	}
	options = append(options, option{"DOCKER_OPT_BIP", "--bip=" + prefix.String()})
	if opts.IPMasq {
		hopsackMasquerades, err := strconv.ParseBool(env["FLANNEL_IPMASQ"])
		if err != nil {
			return "", fmt.Errorf("FLANNEL_IPMASQ: %q is neither true nor false", env["FLANNEL_IPMASQ"])
		}
		options = append(options, option{"DOCKER_OPT_IPMASQ", fmt.Sprintf("--ip-masq=%t", !hopsackMasquerades)})
	}
	mtu, err := strconv.ParseUint(env["FLANNEL_MTU"], 10, 16)
	if err != nil || mtu == 0 {
		return "", fmt.Errorf("FLANNEL_MTU: %q is not an MTU", env["FLANNEL_MTU"])
	}
	options = append(options, option{"DOCKER_OPT_MTU", fmt.Sprintf("--mtu=%d", mtu)})

	var out strings.Builder
	var all []string
	for _, o := range options {
		all = append(all, o.value)
		if opts.Format != Combined {
			fmt.Fprintf(&out, "%s=%q\n", o.variable, o.value)
		}
	}
	if opts.Format != Individual {
		key := opts.Key
		if key == "" {
			key = DefaultKey
		}
		fmt.Fprintf(&out, "%s=%q\n", key, strings.Join(all, " "))
	}
	return out.String(), nil
}

// parse reads NAME=VALUE lines; comments and empty lines are passed over.
func parse(r io.Reader) (map[string]string, error) {
	env := map[string]string{}
	scanner := bufio.NewScanner(r)
	for n := 1; scanner.Scan(); n++ {
		line := strings.TrimSpace(scanner.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			return nil, fmt.Errorf("line %d: %q is not NAME=VALUE", n, line)
		}
		env[strings.TrimSpace(name)] = strings.Trim(strings.TrimSpace(value), `"'`)
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("read the file: %w", err)
	}
	return env, nil
}
