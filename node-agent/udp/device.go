package udp

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// tunFlags are how the dataplane makes the device; the kernel attaches no queue with others.
	tunFlags = unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_MULTI_QUEUE
	// tunOffloads are what the kernel may leave to this process: checksums, and TCP packets of up to 64 KiB that are cut on the way
	// out. The same for UDP needs Linux 6.2.
	tunOffloads    = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
	tunUDPOffloads = unix.TUN_F_USO4 | unix.TUN_F_USO6
)

// queue is one queue of a TUN device. Its descriptor is used through raw alone, so that it is not closed under anyone.
type queue struct {
	file *os.File
	raw  syscall.RawConn
	// cutsUDP says that the device takes several UDP packets as one.
	cutsUDP bool
}

// openQueue attaches a queue to a device that exists. Two callers get two queues.
func openQueue(device string) (*queue, error) {
	// Asking the kernel to attach to one that does not exist would make it.
	if err := exists(device); err != nil {
		return nil, fmt.Errorf("find device %s: %w", device, err)
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	q := &queue{}
	if err := q.attach(fd, device); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("attach to device %s: %w", device, err)
	}
	// Only now: the poller refuses a descriptor without a device.
	q.file = os.NewFile(uintptr(fd), device)
	if q.raw, err = q.file.SyscallConn(); err != nil {
		q.close()
		return nil, err
	}
	return q, nil
}

func (q *queue) close() { _ = q.file.Close() }

// exists returns an error unless there is a device of that name.
func exists(device string) error {
	_, err := askDevice(device, unix.SIOCGIFINDEX)
	return err
}

// askDevice carries out a request about a device in the current network namespace.
func askDevice(device string, what uint) (*unix.Ifreq, error) {
	request, err := unix.NewIfreq(device)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return request, unix.IoctlIfreq(fd, what, request)
}

// untilRunning waits, not for long, until a device that has just got its first queue takes packets: the kernel gives it a
// carrier at once and a way to send in a worker of its own, and drops what comes in between. It does not wait for a device that
// is down.
func untilRunning(device string) {
	for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); time.Sleep(500 * time.Microsecond) {
		request, err := askDevice(device, unix.SIOCGIFFLAGS)
		if err != nil {
			return
		}
		if flags := request.Uint16(); flags&unix.IFF_UP == 0 || flags&unix.IFF_RUNNING != 0 {
			return
		}
	}
}

func (q *queue) attach(fd int, device string) error {
	request, err := unix.NewIfreq(device)
	if err != nil {
		return err
	}
	request.SetUint16(tunFlags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.TUNGETIFF, request); err != nil {
		return err
	}
	if request.Uint16()&unix.IFF_PERSIST == 0 {
		// Deleted in between, and now made by attaching: gone again with fd.
		return errors.New("it is not persistent")
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, vnetLen); err != nil {
		return fmt.Errorf("set length of virtio header: %w", err)
	}
	if unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tunOffloads|tunUDPOffloads) == nil {
		q.cutsUDP = true
		return nil
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tunOffloads); err != nil {
		return fmt.Errorf("set offloads: %w", err)
	}
	return nil
}

// attached says whether the queue still belongs to the device of that name: that ends when the device is deleted.
func (q *queue) attached(device string) bool {
	request, err := unix.NewIfreq(device)
	if err != nil {
		return false
	}
	err2 := q.raw.Control(func(fd uintptr) { err = unix.IoctlIfreq(int(fd), unix.TUNGETIFF, request) })
	return errors.Join(err, err2) == nil && request.Name() == device
}

// openQueues attaches that many queues.
func openQueues(device string, n int) ([]*queue, error) {
	var queues []*queue
	for range n {
		q, err := openQueue(device)
		if err != nil {
			closeQueues(queues)
			return nil, err
		}
		queues = append(queues, q)
	}
	return queues, nil
}

// closeQueues detaches them; who reads from one is told.
func closeQueues(queues []*queue) {
	for _, q := range queues {
		q.close()
	}
}
