// Package monitor says when a pass is worth its cost: when something outside hopsack has changed what hopsack keeps, or what
// it decides on.
//
// It owns a subscription to the kernel's rtnetlink and nftables events and an inotify watch on hopsack's files. It refuses to
// say what to do: an event only says when, the pass reads the kernel itself. It refuses to wake anybody for a pod: one pod
// start is about 30 messages, and none of them is about hopsack's devices, routes or tables. A pod's port counts only when it
// leaves the bridge, which it does not do by stopping.
//
// Passes do not feed themselves. The monitor is told what is wanted before a pass makes it, and an event that shows just
// that is dropped, so hopsack's own writes to devices, addresses, FDB, ARP and routes wake nobody; nor does what comes from its own
// nftables socket. What it writes through the nft and iptables programs and to files does, once; the pass that follows finds
// nothing to do, writes nothing, and so causes no event.
//
// Invariant: no change is missed in silence. Lost events (ENOBUFS), a socket that had to be opened again and a change of a
// device or address each ask for a full pass: routes that go with their device send no message.
package monitor
