package nodeagent

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// PrintStatus writes a Status for people.
func PrintStatus(s *LocalStatus, stateDir string, out io.Writer) error {
	if s == nil {
		_, err := fmt.Fprintf(out, "No network: nothing is saved in %s. The agent has seen no NodeNetwork yet, or the network was taken away.\n", stateDir)
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "Node\t%s\n", s.Node)
	fmt.Fprintf(w, "Objects\tsaved %s ago, %d leases\n", time.Since(s.SavedAt).Round(time.Second), s.Leases)
	for _, n := range s.Subnets {
		fmt.Fprintf(w, "Subnet\t%s %s\n", n.Subnet, n.State)
	}
	switch {
	case s.Endpoint == "":
		fmt.Fprintln(w, "Endpoint\tnone published yet")
	case s.Joined:
		fmt.Fprintf(w, "Endpoint\t%s, peers answer\n", s.Endpoint)
	default:
		fmt.Fprintf(w, "Endpoint\t%s, not proven: no pod is started before half of the peers answer\n", s.Endpoint)
	}
	if s.Wanted == "" {
		fmt.Fprintln(w, "Revision\tnone yet")
	}
	for _, r := range s.Revisions {
		fmt.Fprintf(w, "Revision\t%s %s: %s\n", r.ID, r.describe(), s.use(r.ID))
	}
	if s.Underlay != nil {
		fmt.Fprintf(w, "Underlay\t%s %v mtu %d\n", s.Underlay.Interface, s.Underlay.Addresses, s.Underlay.MTU)
	}
	for _, p := range s.Problems {
		fmt.Fprintf(w, "Problem\t%s: %s\n", p.Reason, p.Message)
	}
	if s.Underlay != nil {
		fmt.Fprintln(w, "\nPEER\tSUBNET\tPATH\tROUTE\tKERNEL")
		for _, p := range s.Peers {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", p.Node, p.Subnet, p.Path, cmp.Or(p.Route, "-"), p.Kernel)
		}
	}
	return w.Flush()
}

// PrintStatusJSON writes a Status for programs; without one, null.
func PrintStatusJSON(s *LocalStatus, out io.Writer) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(s)
}

// describe is the revision's backend in words.
func (r LocalRevision) describe() string {
	parts := []string{r.Backend}
	if r.VNI != 0 {
		parts = append(parts, fmt.Sprintf("VNI %d", r.VNI))
	}
	if r.Port != 0 {
		parts = append(parts, fmt.Sprintf("port %d", r.Port))
	}
	if r.DirectRouting != "" {
		parts = append(parts, "directRouting "+r.DirectRouting)
	}
	if r.MTU != 0 {
		parts = append(parts, fmt.Sprintf("mtu %d", r.MTU))
	}
	return strings.Join(parts, ", ")
}

// use says what the node does with a revision.
func (s *LocalStatus) use(id string) string {
	switch {
	case id == s.Sending && id != s.Confirmed:
		return "sends with it, on trial"
	case id == s.Sending:
		return "sends with it"
	case s.Failed != nil && s.Failed.Revision == id:
		var peers []string
		for _, p := range s.Failed.Failing {
			peers = append(peers, p.Node)
		}
		return "left it by itself, it did not reach " + strings.Join(peers, ", ")
	}
	return "receives it"
}
