package probe

import (
	"crypto/rand"
	"errors"
)

// A message is the payload of one UDP packet:
//
//	0      version
//	1      kind
//	2      length of the path's name, at most maxName
//	3      zero
//	4-19   nonce
//	20-    the name, then padding up to the size that is to be proven
//
// An answer is the request with another kind, and so exactly as long: that proves the size in both directions, and nobody can
// use a prober to send more than he sent himself.
const (
	version    = 1
	headerSize = 20
	maxName    = 64
	// smallSize is the length of the small probe's message, the same for every name.
	smallSize = headerSize + maxName
)

type kind byte

const (
	kindRequest kind = 1
	// kindAnswer came over the path that the request names.
	kindAnswer kind = 2
	// kindUnprepared came over the current path, because the answerer has no path of that name.
	kindUnprepared kind = 3
)

// nonce tells probes apart. It is the only proof that an answer is one, so it comes from crypto/rand and is used once.
type nonce [16]byte

func newNonce() nonce {
	var n nonce
	rand.Read(n[:]) // never fails: the program ends when the kernel has no randomness
	return n
}

type message struct {
	kind  kind
	nonce nonce
	path  string
}

var errMalformed = errors.New("malformed probe")

// parse reads a message. What follows the name is padding, whatever it holds.
func parse(b []byte) (message, error) {
	if len(b) < headerSize || b[0] != version || b[3] != 0 {
		return message{}, errMalformed
	}
	m := message{kind: kind(b[1]), nonce: nonce(b[4:headerSize])}
	switch m.kind {
	case kindRequest, kindAnswer, kindUnprepared:
	default:
		return message{}, errMalformed
	}
	name := int(b[2])
	if name > maxName || headerSize+name > len(b) {
		return message{}, errMalformed
	}
	m.path = string(b[headerSize : headerSize+name])
	return m, nil
}

// put writes the message to the front of b, which is zero behind it and at least smallSize long.
func (m message) put(b []byte) {
	b[0], b[1], b[2], b[3] = version, byte(m.kind), byte(len(m.path)), 0
	copy(b[4:], m.nonce[:])
	copy(b[headerSize:], m.path)
}

// answerWith turns a request into its answer, in place.
func answerWith(b []byte, k kind) { b[1] = byte(k) }
