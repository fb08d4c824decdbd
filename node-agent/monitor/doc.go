// Package monitor tells the agent when something it owns may have changed.
//
// It owns the subscriptions (rtnetlink, nfnetlink, inotify) and the filter in front of the loop: one pod start is some 29
// kernel messages, and none of them concerns the agent. It refuses to say what changed: the pass that follows reads the
// kernel afresh.
//
// The agent's own writes come back as events. That ends by itself: the pass they cause finds nothing to change, writes
// nothing, and so causes no event.
//
// Invariant: whatever touches hopsack's devices, routes, entries, tables or files kicks; messages lost (ENOBUFS) or a
// subscription that broke kick a full pass.
package monitor
