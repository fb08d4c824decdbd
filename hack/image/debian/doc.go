// Package debian takes programs, and what they need to run, out of Debian packages.
//
// It owns the form of debian.lock, the reading of packages, and the choice of files: the programs asked for, the shared
// libraries they and their plugins name, the symbolic links on the way, and every package's copyright file. It refuses packages
// that are not what the lock says, programs that need a library which no package has, and packages that nothing is taken from.
//
// Invariant: what it takes runs by itself in an image, and the lock names exactly the packages it came from.
package debian
