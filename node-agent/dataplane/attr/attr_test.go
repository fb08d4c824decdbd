package attr

import (
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// encode makes an attribute as the kernel does: padded to four bytes.
func encode(typ uint16, value string) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(headerLen+len(value)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func TestAll(t *testing.T) {
	const nested = 0x8000
	two := append(encode(1, "abcde"), encode(2|nested, "x")...)
	for name, tc := range map[string]struct {
		in   []byte
		want map[uint16]string
	}{
		"none":               {nil, map[uint16]string{}},
		"two":                {two, map[uint16]string{1: "abcde", 2: "x"}},
		"last not padded":    {two[:len(two)-3], map[uint16]string{1: "abcde", 2: "x"}},
		"last cut off":       {two[:len(two)-4], map[uint16]string{1: "abcde"}},
		"empty value":        {encode(7, ""), map[uint16]string{7: ""}},
		"length too small":   {[]byte{1, 0, 1, 0, 1, 1, 1, 1}, map[uint16]string{}},
		"length beyond data": {[]byte{200, 0, 1, 0, 1, 1, 1, 1}, map[uint16]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			got := map[uint16]string{}
			for typ, value := range All(tc.in) {
				got[typ] = string(value)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("attributes (-want +got):\n%s", diff)
			}
		})
	}
	if got := Find(two, 2); string(got) != "x" {
		t.Errorf("got %q, want x", got)
	}
}

// Numbers and strings that are too short read as nothing.
func TestShortValues(t *testing.T) {
	if got := Uint32([]byte{1}); got != 0 {
		t.Errorf("got %d, want 0", got)
	}
	if got := BigUint32([]byte{0, 0, 1, 2}); got != 258 {
		t.Errorf("got %d, want 258", got)
	}
	if got := BigUint64([]byte{1, 2, 3, 4}); got != 0 {
		t.Errorf("got %d, want 0", got)
	}
	if got := String([]byte("eth0\x00\x00")); got != "eth0" {
		t.Errorf("got %q, want eth0", got)
	}
}
