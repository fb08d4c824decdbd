package network

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
)

// Range is where the node subnets of one address family come from. Subnets are numbered from 0 (the one that starts at
// First) to Size()-1 (the one that starts at Last).
type Range struct {
	// Network holds every pod address of the family.
	Network netip.Prefix
	// SubnetLen is the prefix length of a node's subnet.
	SubnetLen int
	// First and Last are the first addresses of the first and of the last subnet that may be handed out.
	First, Last netip.Addr
}

// defaultSubnetLen is the length where nobody chose one: a /24, or two more than the network's where a /24 would not leave
// room for four subnets.
func defaultSubnetLen(network netip.Prefix) int {
	if network.Addr().Is6() {
		return 64
	}
	if network.Bits() > 22 {
		return network.Bits() + 2
	}
	return 24
}

// longestSubnet4 leaves a node 14 addresses; fewer hold no useful number of pods.
const longestSubnet4 = 28

// newRange fills in the defaults (zero subnetLen, "" for the bounds) and checks what it is given. Errors name the field.
func newRange(network netip.Prefix, subnetLen int, first, last string) (Range, error) {
	r := Range{Network: network, SubnetLen: subnetLen}
	if subnetLen == 0 {
		r.SubnetLen = defaultSubnetLen(network)
	}
	longest := 126
	if network.Addr().Is4() {
		longest = longestSubnet4
	}
	if r.SubnetLen <= network.Bits() || r.SubnetLen > longest {
		return Range{}, fmt.Errorf("spec.subnetLen: %d is not between %d (one more than network %s) and %d",
			r.SubnetLen, network.Bits()+1, network, longest)
	}
	whole := Range{Network: network, SubnetLen: r.SubnetLen, First: network.Addr(), Last: lastSubnet(network, r.SubnetLen)}
	r.First, r.Last = whole.At(1).Addr(), whole.Last
	var err error
	if first != "" {
		if r.First, err = r.bound("subnetMin", first); err != nil {
			return Range{}, err
		}
	}
	if last != "" {
		if r.Last, err = r.bound("subnetMax", last); err != nil {
			return Range{}, err
		}
	}
	if r.Last.Less(r.First) {
		return Range{}, fmt.Errorf("spec.subnetMin: %s lies after subnetMax %s", r.First, r.Last)
	}
	return r, nil
}

// bound parses subnetMin or subnetMax.
func (r Range) bound(field, value string) (netip.Addr, error) {
	a, err := netip.ParseAddr(value)
	if err != nil || a.Is4() != r.Network.Addr().Is4() || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("spec.%s: %q is not an address of network's family", field, value)
	}
	if !r.Network.Contains(a) {
		return netip.Addr{}, fmt.Errorf("spec.%s: %s lies outside network %s", field, a, r.Network)
	}
	if subnet := netip.PrefixFrom(a, r.SubnetLen).Masked(); subnet.Addr() != a {
		return netip.Addr{}, fmt.Errorf("spec.%s: %s is not the first address of a /%d, %s is", field, a, r.SubnetLen, subnet.Addr())
	}
	return a, nil
}

// lastSubnet is the first address of the network's last subnet.
func lastSubnet(network netip.Prefix, subnetLen int) netip.Addr {
	n := subnetLen - network.Bits()
	offset := uint128{lo: math.MaxUint64, hi: math.MaxUint64}.shr(uint(128 - n)).shl(uint(network.Addr().BitLen() - subnetLen))
	return toUint128(network.Addr()).add(offset).addr(network.Addr().Is4())
}

// shift is how many low bits of an address lie inside a subnet.
func (r Range) shift() uint { return uint(r.First.BitLen() - r.SubnetLen) }

// Size is the number of subnets that may be handed out; what does not fit into 64 bits counts as the largest such number.
func (r Range) Size() uint64 {
	n := toUint128(r.Last).sub(toUint128(r.First)).shr(r.shift())
	if n.hi != 0 || n.lo == math.MaxUint64 {
		return math.MaxUint64
	}
	return n.lo + 1
}

// At is the subnet with the given number, which must be less than Size().
func (r Range) At(i uint64) netip.Prefix {
	a := toUint128(r.First).add(uint128{lo: i}.shl(r.shift()))
	return netip.PrefixFrom(a.addr(r.First.Is4()), r.SubnetLen)
}

// Holds says whether p is one of the subnets that may be handed out.
func (r Range) Holds(p netip.Prefix) bool {
	return p.Addr().Is4() == r.First.Is4() && p.Bits() == r.SubnetLen && p.Addr().Compare(r.First) >= 0 && p.Addr().Compare(r.Last) <= 0
}

// Inside says whether p lies inside the network, whatever its length.
func (r Range) Inside(p netip.Prefix) bool {
	return p.Addr().Is4() == r.Network.Addr().Is4() && p.Bits() >= r.Network.Bits() && r.Network.Contains(p.Addr())
}

// Span gives the numbers of the first and the last subnet that p overlaps; ok is false when it overlaps none.
func (r Range) Span(p netip.Prefix) (from, to uint64, ok bool) {
	end := netip.PrefixFrom(r.Last, r.SubnetLen)
	if p.Addr().Is4() != r.First.Is4() || lastAddr(p).Less(r.First) || lastAddr(end).Less(p.Addr()) {
		return 0, 0, false
	}
	return r.number(p.Addr()), r.number(lastAddr(p)), true
}

// number is the number of the subnet that holds a, with addresses outside the bounds counted to the nearest.
func (r Range) number(a netip.Addr) uint64 {
	if a.Less(r.First) {
		return 0
	}
	n := toUint128(a).sub(toUint128(r.First)).shr(r.shift())
	if n.hi != 0 {
		return r.Size() - 1
	}
	return min(n.lo, r.Size()-1)
}

// lastAddr is the last address inside p.
func lastAddr(p netip.Prefix) netip.Addr {
	host := uint(p.Addr().BitLen() - p.Bits())
	if host == 0 {
		return p.Addr()
	}
	mask := uint128{lo: math.MaxUint64, hi: math.MaxUint64}.shr(128 - host)
	return toUint128(p.Masked().Addr()).add(mask).addr(p.Addr().Is4())
}

// uint128 is an address as a number, so that both families share one arithmetic.
type uint128 struct{ hi, lo uint64 }

func toUint128(a netip.Addr) uint128 {
	if a.Is4() {
		b := a.As4()
		return uint128{lo: uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return uint128{hi: binary.BigEndian.Uint64(b[:8]), lo: binary.BigEndian.Uint64(b[8:])}
}

func (u uint128) addr(is4 bool) netip.Addr {
	if is4 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(u.lo))
		return netip.AddrFrom4(b)
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], u.hi)
	binary.BigEndian.PutUint64(b[8:], u.lo)
	return netip.AddrFrom16(b)
}

func (u uint128) add(v uint128) uint128 {
	lo, carry := bits.Add64(u.lo, v.lo, 0)
	hi, _ := bits.Add64(u.hi, v.hi, carry)
	return uint128{hi: hi, lo: lo}
}

func (u uint128) sub(v uint128) uint128 {
	lo, borrow := bits.Sub64(u.lo, v.lo, 0)
	hi, _ := bits.Sub64(u.hi, v.hi, borrow)
	return uint128{hi: hi, lo: lo}
}

// Shifts by 64 and more give 0 in Go, which is what both of these count on.
func (u uint128) shl(n uint) uint128 {
	return uint128{hi: u.hi<<n | u.lo>>(64-n) | u.lo<<(n-64), lo: u.lo << n}
}

func (u uint128) shr(n uint) uint128 {
	return uint128{hi: u.hi >> n, lo: u.lo>>n | u.hi<<(64-n) | u.hi>>(n-64)}
}
