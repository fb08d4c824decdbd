package udp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls that only copy what is there already are made without telling the scheduler: they are over sooner than that.

// readNow reads from a descriptor that does not block.
func readNow(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), errno
}

// receiveNow receives from a socket that does not block.
func receiveNow(fd int, messages []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(messages))), uintptr(len(messages)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// writeParts writes to a device, which has the kernel walk the packet's whole way to its receiver.
func writeParts(fd int, parts []unix.Iovec) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(parts))), uintptr(len(parts)))
	return errno
}
