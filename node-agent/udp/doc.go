// Package udp is the data path of the udp backend: it carries IP packets between TUN devices and UDP sockets, for underlays and
// kernels that allow nothing else.
//
// The device is persistent and made by the dataplane; this package attaches its queues, one per core, and goes away without
// taking routes along. Packets travel in batches with segmentation offloads on both sides. The table of peers is read without
// locks. A datagram is taken only from an address that a lease publishes, and only when the packet in it comes from a subnet of
// that lease's node: everything else is counted and dropped.
package udp
