// Package version says which release a program is.
//
// It owns the one variable the linker fills in (see the Makefile's LDFLAGS) and the line that --version prints. It refuses to
// look at version control: the same sources and the same release give the same binary, wherever they are built.
//
// Invariant: Version is set by the linker or not at all.
package version
