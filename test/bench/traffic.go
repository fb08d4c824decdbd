package main

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	trafficPort = 9000
	// floodSize is the payload of a UDP packet in bytes.
	floodSize = 64
	// socketBuffer holds what a flood sends while the receiver does not run.
	socketBuffer = 16 << 20
	streamChunk  = 256 << 10
	// idleEnd is how long a receiver waits before it takes the sender for done.
	idleEnd = 300 * time.Millisecond
)

// socket is a blocking one: the runtime's poller would add its own wake-ups to every packet.
type socket int

// newSocket opens a socket in the pod, bound to the traffic port when it is a server's.
func newSocket(p *pod, kind int, server bool) (socket, error) {
	fd := -1
	err := p.do(func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0); err != nil {
			return fmt.Errorf("open socket: %w", err)
		}
		timeout := unix.NsecToTimeval((5 * time.Second).Nanoseconds())
		err = errors.Join(
			unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
			unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout))
		if kind == unix.SOCK_DGRAM {
			err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer))
		}
		if server {
			err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
				unix.Bind(fd, &unix.SockaddrInet4{Port: trafficPort, Addr: p.addr.As4()}))
		}
		return err
	})
	if err != nil && fd >= 0 {
		unix.Close(fd)
	}
	return socket(fd), err
}

func (s socket) close() { unix.Close(int(s)) }

func (s socket) connect(to netip.Addr) error {
	if err := unix.Connect(int(s), &unix.SockaddrInet4{Port: trafficPort, Addr: to.As4()}); err != nil {
		return fmt.Errorf("connect to %s: %w", to, err)
	}
	return nil
}

// waitAtMost sets how long a read waits.
func (s socket) waitAtMost(d time.Duration) error {
	timeout := unix.NsecToTimeval(d.Nanoseconds())
	return unix.SetsockoptTimeval(int(s), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
}

// retry calls a system call until no signal interrupts it; the runtime sends itself some.
func retry[T any](call func() (T, error)) (T, error) {
	for {
		v, err := call()
		if !errors.Is(err, unix.EINTR) {
			return v, err
		}
	}
}

func (s socket) read(b []byte) (int, error) {
	return retry(func() (int, error) { return unix.Read(int(s), b) })
}
func (s socket) write(b []byte) (int, error) {
	return retry(func() (int, error) { return unix.Write(int(s), b) })
}

// tcpStream sends as fast as it can for a while. It returns the bytes that arrived and the time from the first to the last.
func tcpStream(from, to *pod, d time.Duration) (received uint64, took time.Duration, err error) {
	server, err := newSocket(to, unix.SOCK_STREAM, true)
	if err != nil {
		return 0, 0, err
	}
	defer server.close()
	if err := unix.Listen(int(server), 1); err != nil {
		return 0, 0, err
	}
	client, err := newSocket(from, unix.SOCK_STREAM, false)
	if err != nil {
		return 0, 0, err
	}
	done := make(chan error, 1)
	go func() {
		fd, err := retry(func() (int, error) { fd, _, err := unix.Accept4(int(server), unix.SOCK_CLOEXEC); return fd, err })
		if err != nil {
			done <- fmt.Errorf("accept: %w", err)
			return
		}
		defer unix.Close(fd)
		received, took, err = drain(socket(fd))
		done <- err
	}()
	err = client.connect(to.addr)
	chunk := make([]byte, streamChunk)
	for start := time.Now(); err == nil && time.Since(start) < d; {
		_, err = client.write(chunk)
	}
	client.close()
	return received, took, errors.Join(err, <-done)
}

// drain reads to the end of a stream.
func drain(s socket) (received uint64, took time.Duration, err error) {
	if err := s.waitAtMost(5 * time.Second); err != nil {
		return 0, 0, err
	}
	buffer := make([]byte, streamChunk)
	var first time.Time
	for {
		n, err := s.read(buffer)
		if err != nil {
			return received, took, fmt.Errorf("receive: %w", err)
		}
		if n == 0 {
			return received, took, nil
		}
		if first.IsZero() {
			first = time.Now()
		}
		received += uint64(n)
		took = time.Since(first)
	}
}

// flood is what came of one.
type flood struct {
	sent, received uint64
	// took is the time from the first to the last packet received.
	took time.Duration
}

// udpFlood sends small packets as fast as one thread can for a while.
func udpFlood(from, to *pod, d time.Duration) (flood, error) {
	server, err := newSocket(to, unix.SOCK_DGRAM, true)
	if err != nil {
		return flood{}, err
	}
	defer server.close()
	client, err := newSocket(from, unix.SOCK_DGRAM, false)
	if err != nil {
		return flood{}, err
	}
	defer client.close()
	if err := errors.Join(client.connect(to.addr), server.waitAtMost(idleEnd)); err != nil {
		return flood{}, err
	}
	var f flood
	done := make(chan error, 1)
	go func() {
		var err error
		f.received, f.took, err = count(server)
		done <- err
	}()
	packet := make([]byte, floodSize)
	for start := time.Now(); err == nil && time.Since(start) < d; f.sent++ {
		_, err = client.write(packet)
	}
	return f, errors.Join(err, <-done)
}

// count reads packets until there are none for a while. It waits longer for the first.
func count(s socket) (received uint64, took time.Duration, err error) {
	buffer := make([]byte, 2*floodSize)
	var first, last time.Time
	for deadline := time.Now().Add(5 * time.Second); ; {
		n, err := s.read(buffer)
		if errors.Is(err, unix.EAGAIN) {
			if received == 0 && time.Now().Before(deadline) {
				continue
			}
			return received, last.Sub(first), nil
		}
		if err != nil {
			return received, 0, fmt.Errorf("receive: %w", err)
		}
		if n != floodSize {
			return received, 0, fmt.Errorf("received %d bytes, sent packets of %d", n, floodSize)
		}
		last = time.Now()
		if received++; received == 1 {
			first = last
		}
	}
}

// roundTrips sends a packet and waits for it to come back, many times.
func roundTrips(from, to *pod, times int) (sample, error) {
	server, err := newSocket(to, unix.SOCK_DGRAM, true)
	if err != nil {
		return nil, err
	}
	defer server.close()
	client, err := newSocket(from, unix.SOCK_DGRAM, false)
	if err != nil {
		return nil, err
	}
	defer client.close()
	if err := errors.Join(client.connect(to.addr), server.waitAtMost(idleEnd)); err != nil {
		return nil, err
	}
	var over atomic.Bool
	done := make(chan error, 1)
	go func() { done <- echo(server, &over) }()
	var trips sample
	packet := make([]byte, floodSize)
	for i := 0; i < times && err == nil; i++ {
		err = trips.took(func() error {
			if _, err := client.write(packet); err != nil {
				return fmt.Errorf("send: %w", err)
			}
			_, err := client.read(packet)
			return err
		})
	}
	over.Store(true)
	return trips, errors.Join(err, <-done)
}

// echo sends packets back until over is set.
func echo(s socket, over *atomic.Bool) error {
	buffer := make([]byte, 2*floodSize)
	for !over.Load() {
		n, peer, err := unix.Recvfrom(int(s), buffer, 0)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil {
			err = unix.Sendto(int(s), buffer[:n], 0, peer)
		}
		if err != nil {
			return fmt.Errorf("echo: %w", err)
		}
	}
	return nil
}
