package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/tun"
)

// libraryTunnel carries packets between a device and one peer with wireguard-go's tun and conn packages and nothing in between:
// no table, no checks. It is what the udp backend's own reading and writing is compared with. It must be called inside the
// node's namespace; the tunnel ends with the process.
func libraryTunnel(peer netip.AddrPort) error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(udpDevice)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_MULTI_QUEUE)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return fmt.Errorf("attach to device %s: %w", udpDevice, err)
	}
	device, err := tun.CreateTUNFromFile(os.NewFile(uintptr(fd), udpDevice), underlayMTU-udpOverhead)
	if err != nil {
		return err
	}
	bind := conn.NewStdNetBind()
	receivers, _, err := bind.Open(peer.Port())
	if err != nil {
		return err
	}
	endpoint, err := bind.ParseEndpoint(peer.String())
	if err != nil {
		return err
	}
	go func() {
		for range device.Events() { // it blocks when nobody listens
		}
	}()
	go libraryOut(device, bind, endpoint)
	for _, receive := range receivers {
		go libraryIn(device, receive)
	}
	return nil
}

// headroom is what the library wants before every packet for a virtio header.
const headroom = 10

func libraryBuffers() (whole, packets [][]byte, sizes []int) {
	whole, packets = make([][]byte, conn.IdealBatchSize), make([][]byte, conn.IdealBatchSize)
	for i := range whole {
		whole[i] = make([]byte, headroom+1<<16)
	}
	return whole, packets, make([]int, conn.IdealBatchSize)
}

func libraryOut(device tun.Device, bind conn.Bind, to conn.Endpoint) {
	whole, packets, sizes := libraryBuffers()
	for {
		n, err := device.Read(whole, sizes, headroom)
		if errors.Is(err, os.ErrClosed) || errors.Is(err, io.EOF) {
			return
		}
		for i := range n {
			packets[i] = whole[i][headroom : headroom+sizes[i]]
		}
		if n > 0 {
			_ = bind.Send(packets[:n], to) // what is lost shows in the figures
		}
	}
}

func libraryIn(device tun.Device, receive conn.ReceiveFunc) {
	whole, packets, sizes := libraryBuffers()
	from := make([]conn.Endpoint, len(whole))
	write := make([][]byte, 0, len(whole))
	for {
		for i := range whole {
			packets[i] = whole[i][headroom:]
		}
		n, err := receive(packets, sizes, from)
		if err != nil {
			return
		}
		write = write[:0]
		for i := range n {
			if sizes[i] > 0 {
				write = append(write, whole[i][:headroom+sizes[i]])
			}
		}
		_, _ = device.Write(write, headroom)
	}
}
