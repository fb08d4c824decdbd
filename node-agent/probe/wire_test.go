package probe

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	whole := func(change func(b []byte)) []byte {
		b := make([]byte, smallSize)
		message{kindRequest, nonce{1, 2, 3}, "1b2c3d4e/direct"}.put(b)
		change(b)
		return b
	}
	for name, tc := range map[string]struct {
		b  []byte
		ok bool
	}{
		"request":              {whole(func([]byte) {}), true},
		"without its padding":  {whole(func([]byte) {})[:headerSize+15], true},
		"name cut off":         {whole(func([]byte) {})[:headerSize+14], false},
		"header cut off":       {whole(func([]byte) {})[:headerSize-1], false},
		"empty":                {nil, false},
		"another version":      {whole(func(b []byte) { b[0]++ }), false},
		"unknown kind":         {whole(func(b []byte) { b[1] = 9 }), false},
		"name over the end":    {whole(func(b []byte) { b[2] = maxName + 1 }), false},
		"reserved byte in use": {whole(func(b []byte) { b[3] = 1 }), false},
	} {
		m, err := parse(tc.b)
		if (err == nil) != tc.ok {
			t.Errorf("%s: got error %v", name, err)
		}
		if tc.ok && (m != message{kindRequest, nonce{1, 2, 3}, "1b2c3d4e/direct"}) {
			t.Errorf("%s: got %+v", name, m)
		}
	}
}

// Whatever arrives, parse neither panics nor makes anything up, and an answer is as long as its request.
func FuzzParse(f *testing.F) {
	for _, path := range []string{"", "1b2c3d4e/routes", strings.Repeat("x", maxName)} {
		b := make([]byte, smallSize)
		message{kindRequest, newNonce(), path}.put(b)
		f.Add(b)
		f.Add(b[:headerSize])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parse(b)
		if err != nil {
			return
		}
		again := make([]byte, max(smallSize, len(b)))
		copy(again[headerSize+len(m.path):], b[headerSize+len(m.path):])
		m.put(again)
		if !bytes.Equal(b, again[:len(b)]) {
			t.Errorf("got %x from %x", again, b)
		}
		answerWith(b, kindAnswer)
		if got, err := parse(b); err != nil || got != (message{kindAnswer, m.nonce, m.path}) {
			t.Errorf("answer: got %+v, %v", got, err)
		}
	})
}

// Answers are bounded: a burst, and then so many each second.
func TestBucket(t *testing.T) {
	var b bucket
	now := time.Now()
	count := func() int {
		n := 0
		for b.take(now) {
			n++
		}
		return n
	}
	got := []int{count()}
	now = now.Add(100 * time.Millisecond)
	got = append(got, count())
	now = now.Add(time.Hour)
	got = append(got, count())
	if diff := cmp.Diff([]int{answerBurst, answersPerSecond / 10, answerBurst}, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
}
