// Command runtests runs every test of hopsack in the order of their cost, and closes with one summary. It is what `make test`
// calls.
//
// It owns the stages: which packages run together and how many at a time, so that two cores suffice. It refuses to hide
// anything: every package's closing line of go test is printed as it comes, a failed test with all its output, and a skipped
// test fails the run, because a skipped kernel test is one that never fails.
//
// Invariant: every package of the module is in exactly one stage.
package main
