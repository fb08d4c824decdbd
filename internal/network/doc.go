// Package network holds the parsed domain types of hopsack: what the API objects mean, in netip types with every default
// filled in.
//
// It owns the way from api/v1alpha1 to those types (FromAPI and its kin): API strings are parsed here once, so inner code
// cannot meet a bad CIDR. It refuses to touch the cluster, the kernel or the clock.
//
// Invariant: a value of these types is valid; every error names the field and the value that is wrong.
package network
