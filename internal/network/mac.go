package network

import (
	"fmt"
	"net"
)

// MAC is an Ethernet (EUI-48) address. Its zero value means "none".
type MAC [6]byte

// ParseMAC parses the colon form. It refuses anything but six bytes.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != len(MAC{}) {
		return MAC{}, fmt.Errorf("%q is not an Ethernet address", s)
	}
	return MAC(hw), nil
}

// String prints the colon form in lower case, or "" for the zero value.
func (m MAC) String() string {
	if m == (MAC{}) {
		return ""
	}
	return net.HardwareAddr(m[:]).String()
}

// HardwareAddr returns the address as package net has it.
func (m MAC) HardwareAddr() net.HardwareAddr { return net.HardwareAddr(m[:]) }

// IsUnicast says whether the address names one station: neither zero nor a group address.
func (m MAC) IsUnicast() bool { return m != (MAC{}) && m[0]&1 == 0 }
