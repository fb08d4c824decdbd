// Command codecheck reads the Go files of the repository and reports what no other linter here does: files and functions that
// are too long, packages and exported names without documentation, TODOs without an issue, and os.Exit outside of main
// packages and helpers of tests. It prints path:line: message and exits with 1 when it printed anything.
//
// It owns the limits. It refuses exceptions: a file that needs one is to be split.
//
// Invariant: generated files are not judged; test files only by their length.
package main
