// Command reference writes docs/reference.md, what a user may look up of the API, from the types in api/v1alpha1: their
// comments and markers, and the defaults that the controller fills in.
//
// It owns the page's order and layout. It refuses to say anything of its own about a field: a sentence that is missing or wrong
// there is mended in the comment of the field, from where the CRDs have it, too.
//
// Invariant: every field of the three kinds, every condition type, every reason and every name is on the page exactly once.
package main
