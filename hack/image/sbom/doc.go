// Package sbom says what is inside of an image or archive: a software bill of materials in SPDX, and the licences.
//
// It owns where the words come from: Go modules from the build information inside of the binaries, their licences from the
// module cache, Debian packages from the lock and their copyright files. It refuses modules without a licence, and to say
// anything about who built it, where and when.
//
// Invariant: the same content gives the same document, byte for byte; what is linked into a binary is in its document.
package sbom
