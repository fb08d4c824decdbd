// Package nft keeps the packet filter.
package nft
