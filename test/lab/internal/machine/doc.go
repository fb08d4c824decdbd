// Package machine makes a process look like it runs on a computer of its own: network, mount, PID, UTS and IPC namespaces
// held by one process, the holder, which is PID 1 in there. As a Computer it has control groups, a disk and shared mounts
// as well, which is what a container runtime and a kubelet ask for.
//
// It owns the holder and every mount below it. It refuses to touch the mounts of the caller: directories that a machine
// needs and the host lacks appear in an overlay that only the machine sees.
// Invariant: when the holder ends, however it ends, every process and mount of the machine ends with it; and a holder whose
// starter died before recording it ends by itself.
package machine
