// Command mutants shows that the tests can fail: it breaks one promise at a time in a copy of the work tree and says which test
// noticed. It is what `make mutants` calls.
//
// It owns the patches beside it: NAME.patch breaks one thing, its header says which promise or rule of the design that is, and
// the header's line "test: ARGS" names the arguments of go test that must notice. It refuses to call a mutant caught that does
// not apply or compile, or whose tests fail, or run nothing, without it.
//
// Invariant: the work tree is only read; a mutant is caught only by a test that has a name and passes without the mutant.
package main
