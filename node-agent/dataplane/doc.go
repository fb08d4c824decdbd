// Package dataplane makes a node what a desired.State says: devices, addresses, sysctls, packet filter, FDB, ARP and routes
// in the kernel, and the files other programs read.
//
// It owns every write: no other package of the agent speaks netlink to change something. It knows its own by marks (ifalias
// and names of devices, the label of the bridge's addresses, the protocol of routes and ip rules, the nftables table, the comment
// of iptables rules, names of files), so it needs no memory of what it did: a new process, or one that was killed half way, finds
// its work in the kernel. Only the old values of sysctls cannot be found there; they are kept in StateDir.
//
// Pods' ports, which the CNI plugin marks, it puts back onto the bridge; it never makes or deletes one. Inside pods, whose
// namespaces the plugin records, it sets the mtu of the default route and nothing else: lowered before the routes change, raised
// after, so that no pod sends what does not fit.
//
// Several revisions of the backend are received at once. Each has its tunnel, which stays for a while when it is no longer wanted
// (Report.Again), and the tables by which it can be proven: a rule comes after its table and goes before it, or a probe would
// take the routes in force.
//
// It refuses to touch what is not hopsack's: a foreign device or route in the way is a Problem in the Report. It refuses to
// act on a dump that the kernel interrupted, and holds back what would break without something that failed: a route waits
// for its ARP entry, that for its FDB entry, both for their device, all routes for the packet filter (a flow that starts
// before its exemption is masqueraded for life), and the hand-off for devices, addresses and filter.
//
// Invariants: a Sync that finds everything in place makes no write, and so causes no event; a route is replaced, never
// deleted and added again; entries are made from the device up and removed from the hand-off down.
package dataplane
