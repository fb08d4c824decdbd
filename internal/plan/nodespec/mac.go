package nodespec

import (
	"crypto/sha256"
	"maps"
	"slices"
	"strconv"

	"github.com/hopsack-net/hopsack/internal/network"
)

// maxSalt bounds the search after a collision. Two of N names collide with probability N²/2⁴⁷, so the first salt is rare and
// the second never seen.
const maxSalt = 16

// DeriveMAC is the address that a node's name gives: locally administered (RFC 7042, section 2.1) and unicast. Salt 0 is the
// usual one.
func DeriveMAC(name string, salt int) network.MAC {
	if salt > 0 {
		name += "\x00" + strconv.Itoa(salt)
	}
	sum := sha256.Sum256([]byte(name))
	m := network.MAC(sum[:6])
	m[0] = m[0]&^1 | 2
	return m
}

// AssignMACs gives every node its address. recorded holds what nodes have, the zero MAC for new ones: it is kept if the name
// can give it and nobody before has it, so that an address changes neither when another node comes nor when one goes.
func AssignMACs(recorded map[string]network.MAC) map[string]network.MAC {
	out := make(map[string]network.MAC, len(recorded))
	used := make(map[network.MAC]bool, len(recorded))
	names := slices.Sorted(maps.Keys(recorded))
	for _, name := range names {
		m := recorded[name]
		for salt := 0; salt < maxSalt && m != (network.MAC{}); salt++ {
			if DeriveMAC(name, salt) == m && !used[m] {
				out[name], used[m] = m, true
				break
			}
		}
	}
	for _, name := range names {
		for salt := 0; out[name] == (network.MAC{}) && salt < maxSalt; salt++ {
			if m := DeriveMAC(name, salt); !used[m] {
				out[name], used[m] = m, true
			}
		}
	}
	return out
}
