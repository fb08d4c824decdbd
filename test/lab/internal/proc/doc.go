// Package proc starts long-running processes, remembers them on disk and ends them.
//
// It owns the record files in its Store. It refuses to signal a process that is not provably the one recorded: a record
// holds the kernel's start time of the process and the boot it belongs to, and signals go through a pidfd opened before the
// comparison, so a recycled PID is never hit.
// Invariant: a record exists from before the process can do anything that lasts until it is known to be gone.
package proc
