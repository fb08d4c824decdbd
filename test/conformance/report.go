package main

import (
	"encoding/xml"
	"fmt"
	"os"
	"strings"
)

// Files in the report folder: what the tests write for machines, and all they print.
const (
	reportFile = "junit_01.xml"
	logFile    = "ginkgo.log"
	// clusterFile is what the cluster said of itself when something failed.
	clusterFile = "cluster.txt"
)

// unselected is what the report says of a spec that the focus leaves out; a spec that skips itself adds why.
const unselected = "skipped"

// counts are how many of the specs that were to run ended how.
type counts struct {
	Passed  int `json:"passed"`
	Failed  int `json:"failed"`
	Skipped int `json:"skipped"`
	// Failures names what failed: specs, and what runs before or after them.
	Failures []string `json:"failures,omitempty"`
}

// readReport counts the specs of a JUnit file. Nodes that are no specs, such as what runs before all, count only when they fail.
func readReport(path string) (counts, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return counts{}, fmt.Errorf("read report: %w", err)
	}
	var report struct {
		Suites []struct {
			Cases []struct {
				Name    string `xml:"name,attr"`
				Skipped *struct {
					Message string `xml:"message,attr"`
				} `xml:"skipped"`
				Failure *struct{} `xml:"failure"`
				Error   *struct{} `xml:"error"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(data, &report); err != nil {
		return counts{}, fmt.Errorf("read report %s: %w", path, err)
	}
	var out counts
	for _, suite := range report.Suites {
		for _, c := range suite.Cases {
			name, spec := strings.CutPrefix(c.Name, "[It] ")
			switch {
			case c.Failure != nil || c.Error != nil:
				out.Failed++
				out.Failures = append(out.Failures, name)
			case !spec, c.Skipped != nil && c.Skipped.Message == unselected:
			case c.Skipped != nil:
				out.Skipped++
			default:
				out.Passed++
			}
		}
	}
	return out, nil
}
