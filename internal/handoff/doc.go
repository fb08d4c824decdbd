// Package handoff is the file by which the agent tells the CNI plugin how to plug pods in: DefaultPath, one JSON object.
//
// It owns the file's form: the type, the strict parse, the atomic write, and which addresses of a subnet pods may have
// (GatewayAddress, ReservedAddress, PodRange). The agent writes the file last, once bridge, routes and rules are in place; the
// plugin only reads it. The file lives on /run, so it is gone after a reboot: a missing file means that the node has no pod
// network (yet), and no pod may start. It also owns what goes the other way, written by the plugin for the agent: the mark on a pod's port
// (Port), which tells what to put back onto the bridge, and the record of a pod (Pod), which tells where its routes are.
//
// It refuses whatever the two sides could understand differently: an unknown key or version, a missing field, a gateway
// that is not its subnet's first address, subnets that overlap. Every error names the field.
//
// Invariant: Parse(Marshal(f)) equals f for every f that Marshal accepts, and a reader sees either the previous file or the
// new one, never a part.
package handoff
