// Package cli is `kubectl hopsack`: it shows how the pod network and a change of it stand, holds, resumes, repeats and takes back
// a change, has nodes check their paths, explains the path of a pod's packets, turns flannel's configuration into ours, and takes
// everything away again.
//
// It owns the words users read and the exit codes scripts read (the Exit constants). It refuses to know more than the API
// objects say: it never talks to a node, it writes nothing but annotations and, to take a change back, spec.backend and
// spec.mtu of the NetworkConfig, and what objects cannot tell it calls unknown. Only uninstall deletes, and takes no finalizer off
// before a node's agent has confirmed unless it is forced.
//
// Invariant: no command reports an outcome of a spec other than the one in force: while the controller has not taken up the
// present generation, there is no outcome.
package cli
