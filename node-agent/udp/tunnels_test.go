package udp

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
)

func runQuietly(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return string(out), err
}

func TestPing(t *testing.T) {
	a, b := connected(t)
	for _, to := range []string{podAddr(2), "fd00:2::1"} {
		for _, size := range []int{0, 56, testMTU - 48} {
			if err := a.ping(to, size); err != nil {
				t.Errorf("%s, %d bytes: %v", to, size, err)
			}
		}
	}
	if d := b.stat().Dropped; d.Malformed+d.Stranger+d.WrongSource+d.SendError > 0 {
		t.Errorf("dropped %+v", d)
	}
}

// A stream of random bytes arrives as it was sent, whatever was cut and merged on the way.
func TestTCP(t *testing.T) {
	a, b := connected(t)
	for _, address := range []string{podAddr(2), "fd00:2::1"} {
		t.Log(address)
		var listener net.Listener
		nstest.Do(t, b.ns, func() {
			var err error
			if listener, err = net.Listen("tcp", net.JoinHostPort(address, "9000")); err != nil {
				t.Fatal(err)
			}
		})
		defer listener.Close()
		got := make(chan []byte, 1)
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			h := sha256.New()
			_, _ = io.Copy(h, conn)
			got <- h.Sum(nil)
		}()
		var conn net.Conn
		nstest.Do(t, a.ns, func() {
			var err error
			if conn, err = net.DialTimeout("tcp", net.JoinHostPort(address, "9000"), 5*time.Second); err != nil {
				t.Fatal(err)
			}
		})
		h := sha256.New()
		random := rand.NewChaCha8([32]byte{1})
		if _, err := io.CopyN(io.MultiWriter(h, conn), random, 64<<20); err != nil {
			t.Fatal(err)
		}
		conn.Close()
		select {
		case sum := <-got:
			if !bytes.Equal(sum, h.Sum(nil)) {
				t.Error("what arrived is not what was sent")
			}
		case <-time.After(10 * time.Second):
			t.Fatal("the stream does not end")
		}
	}
	s := b.stat()
	t.Logf("%+v", s)
	if s.In.Bytes < 128<<20 {
		t.Errorf("%d bytes went through the tunnel", s.In.Bytes)
	}
}
