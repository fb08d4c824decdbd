// Package drift is the list of what other programs and people do to a node behind hopsack's back, and how to see that it was
// put right: the promise "drift heals" as data, for the tests that check it and the benchmark that times it.
//
// It owns the shell commands, which run on the node itself. It refuses to run anything. Invariant: on a node in order every
// Shows succeeds, and right after its Break it fails until hopsack has repaired what was broken.
package drift
