// Package delay is a proxy between one agent and the API server that delivers chosen watches late.
//
// It owns one listening socket on the loopback device and the connections behind it. It refuses to reorder or to drop: what a
// watch delivers arrives in order and complete, each piece as long after it was sent as the file of delays says at that moment.
// Everything that is not a watch of a resource in that file passes at once.
//
// Invariant: the proxy has no state besides what is under way, so that killing it is a broken connection and nothing more.
package delay
