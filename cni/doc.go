// Package cni is the CNI plugin "hopsack": it plugs pods into the bridge the agent made, with the addresses, routes and MTUs
// the agent put into the hand-off file (package handoff).
//
// It owns the pod end and nothing else. The work is delegated to the reference plugins bridge and host-local; this package
// decides their configuration (the agent owns the bridge and all its addresses, so isGateway, isDefaultGateway and
// forceAddress stay off: with them on, a second subnet on the node breaks ADD or the old pods). Afterwards it puts the mtu on
// the pod's default routes, because the reference plugins drop the one IPAM names, and a mark on the pod's port, by which the
// agent knows what to put back should the bridge be deleted under running pods. It records where the pod's namespace is, for the
// agent to change that mtu later.
//
// It refuses to plug in a pod before the node has a network: no hand-off file, no subnet that hands out addresses or no
// bridge is an error the kubelet retries (code 11). The file lives on /run, so a conflist that survived a reboot starts no
// pod by itself. It never creates or changes the bridge.
//
// Invariant: an address is in use, and a record there, exactly as long as the pod is. A failed ADD leaves none behind, DEL releases it with
// nothing but the container's id, and so works when hand-off file, bridge or namespace are gone; GC releases what the runtime
// no longer knows.
package cni
