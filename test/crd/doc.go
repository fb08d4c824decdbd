// Package crd tests what the API server decides by itself, without an API server: the generated CRDs (schema, CEL, cost),
// the objects they accept and the exact sentences they refuse the others with, and the admission policy that confines an
// agent to its own NodeNetwork.
//
// It owns no code that ships. It refuses to test behaviour of the controller or the agent: a fault that needs either is a
// condition, and is tested with them.
//
// Invariant: every object here goes through the same validators, in the same order, as in kube-apiserver.
package crd
