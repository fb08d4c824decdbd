// Package docs reads the commands out of the documentation: README.md and all pages below docs/.
//
// It owns what counts as a command (each line of a block marked sh, each line after a $ in one marked console, with what the
// page shows of its output), the marks in comments that readers do not see (where a block runs, and what must be the case), and
// the list of commands that no test machine can run, each with its reason. It refuses a block that it cannot read: a command
// that is neither run nor listed would be one that nobody has tried.
//
// Invariant: every command is in the list or is run by test/kubelet/docs; no entry of the list is without a page.
package docs
