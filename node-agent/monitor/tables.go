package monitor

import (
	"bytes"
	"context"
	"syscall"

	"golang.org/x/sys/unix"
)

// Attribute numbers of nf_tables messages (include/uapi/linux/netfilter/nf_tables.h). The table's name is number 1 in every
// kind of message; a rule's chain is 2, a chain's own name 3.
const (
	attrTable     = 1
	attrRuleChain = 2
	attrChainName = 3
	sizeofNfGen   = 4
)

// nfnlgrpNFTables is NFNLGRP_NFTABLES.
const nfnlgrpNFTables = 7

func (m *Monitor) watchTables(ctx context.Context) error {
	return m.receive(ctx, unix.NETLINK_NETFILTER, []uint{nfnlgrpNFTables}, m.handleTable)
}

// handleTable kicks for hopsack's table, and for the chain FORWARD of the table that iptables-nft makes.
func (m *Monitor) handleTable(message syscall.NetlinkMessage) {
	if message.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES || message.Header.Type&0xff == unix.NFT_MSG_NEWGEN {
		return
	}
	attrs := attributes(message.Data, sizeofNfGen)
	text := func(attr uint16) string { return string(bytes.TrimRight(attrs[attr], "\x00")) }
	m.mu.Lock()
	table := m.interest.Table
	m.mu.Unlock()
	switch name := text(attrTable); {
	case name == table:
		m.kick(true)
	case name != "filter":
	case message.Header.Type&0xff == unix.NFT_MSG_DELTABLE:
		m.kick(true)
	case text(attrRuleChain) == "FORWARD" || text(attrChainName) == "FORWARD":
		m.kick(true)
	}
}
