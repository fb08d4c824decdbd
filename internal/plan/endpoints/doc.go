// Package endpoints decides what a lease publishes: how peers reach its node.
//
// It owns the checks between an agent's report and what every other node will believe. It refuses an address that is not the
// node's by the word of somebody other than its agent (the Node object, its annotation, or the configuration's CIDRs), or that
// another node publishes. Silence changes nothing: what was published stays until a good report replaces it, also while the
// NodeNetwork is missing that would carry one (somebody deleted its CRD).
//
// When a report counts: always only with the UID of the present Node. To publish for the first time it must also be about the
// present generation and name every revision as prepared, so that peers never send to a node that cannot receive. Later
// reports about an older generation still count: the address they name is a fact about the node, not about the spec.
//
// Invariant: no two nodes publish one address.
package endpoints
