// Package pki makes the keys and certificates of a throw-away control plane.
//
// It owns nothing on disk but what Write is told to write. It refuses to be more than a lab needs: one authority, ECDSA
// P-256 everywhere, no renewal, no revocation.
// Invariant: every certificate it issues is valid from an hour ago, so that a machine whose clock steps back still trusts it.
package pki
