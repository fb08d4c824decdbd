// Command bench measures hopsack against a reference, side by side in one run: what counts is the ratio, because machines
// differ and are shared. `make -s bench` runs everything (minutes), `make -s bench BENCH="-idle 5m idle peers"` some of it,
// BENCH=-list names the cases. The case rollout takes an hour and runs only when it is named: `make -s bench-rollout`, with
// ROLLOUT="-rounds 1 -kills 2 -pauses 1" in minutes. Nor do those on clusters with kubelets: `make -s bench-kubelet`.
//
// It owns the cases: what is built, what is compared with what, and the proof that what was measured happened (entries are
// read back, bytes are counted where they must have passed, a repair must show in the agent's own count of writes). A case
// that cannot prove it fails. It asserts no time.
//
// Every case prints exactly one line of JSON on standard output, with "bench" and the parameters first, and progress on
// standard error. Times are in milliseconds, named for their percentile; X_ratio and ratio are hopsack's figure divided by the
// reference's.
//
// It refuses to touch the machine's own network. Cases of the kernel and of the CNI plugin run in a process of their own with
// a network and a mount namespace of its own, all further namespaces are held by file descriptors, so everything goes with the
// process, however it ends. The cases of a whole cluster share one lab, which is taken down at the end, also after a failure
// or an interrupt; after a SIGKILL `bin/lab down` with the directory it names does it.
package main
