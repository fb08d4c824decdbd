package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/yaml"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// output is the flag -o.
type output struct {
	format  string
	allowed []string
}

// addOutput adds -o with the given formats besides the default.
func addOutput(cmd *cobra.Command, allowed ...string) *output {
	o := &output{allowed: allowed}
	cmd.Flags().StringVarP(&o.format, "output", "o", "", "Output format: "+strings.Join(allowed, ", "))
	// It fails only where the flag does not exist or has a function already.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(allowed, cobra.ShellCompDirectiveNoFileComp))
	return o
}

func (o *output) check() error {
	if o.format != "" && !slices.Contains(o.allowed, o.format) {
		return fmt.Errorf("--output: %q is not one of %s", o.format, strings.Join(o.allowed, ", "))
	}
	return nil
}

func (o *output) wide() bool { return o.format == "wide" }

// structured prints v as JSON or YAML, and says whether that is what -o asks for.
func (o *output) structured(out io.Writer, v any) (bool, error) {
	switch o.format {
	case "json":
		data, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return true, err
		}
		_, err = fmt.Fprintf(out, "%s\n", data)
		return true, err
	case "yaml":
		data, err := yaml.Marshal(v)
		if err != nil {
			return true, err
		}
		_, err = out.Write(data)
		return true, err
	}
	return false, nil
}

// table prints rows in columns; an empty cell shows as "-".
func table(out io.Writer, header []string, rows [][]string) error {
	w := printers.GetNewTabWriter(out)
	for _, row := range append([][]string{header}, rows...) {
		cells := make([]string, len(row))
		for i, cell := range row {
			if cells[i] = cell; cell == "" {
				cells[i] = "-"
			}
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}

// describeBackend is a backend in a few words, with what was left out of it.
func describeBackend(b v1alpha1.Backend) string {
	switch {
	case b.Type == v1alpha1.BackendVXLAN && b.VXLAN != nil:
		words := []string{"vxlan"}
		if b.VXLAN.VNI != nil {
			words = append(words, fmt.Sprintf("vni %d", *b.VXLAN.VNI))
		}
		if b.VXLAN.Port != nil {
			words = append(words, fmt.Sprintf("port %d", *b.VXLAN.Port))
		}
		if b.VXLAN.DirectRouting != "" {
			words = append(words, fmt.Sprintf("directRouting %s", b.VXLAN.DirectRouting))
		}
		return strings.Join(words, " ")
	case b.Type == v1alpha1.BackendUDP && b.UDP != nil && b.UDP.Port != nil:
		return fmt.Sprintf("udp port %d", *b.UDP.Port)
	default:
		return string(b.Type)
	}
}

// describeMTU is a configured MTU in words.
func describeMTU(mtu int32) string {
	if mtu == 0 {
		return "the underlay's, less the backend's overhead"
	}
	return fmt.Sprint(mtu)
}

// plural puts a number before a noun.
func plural[N int | int32](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
