package controllers

// Keys of log lines. Every program of hopsack uses the same ones.
const (
	keyNode          = "node"
	keyLease         = "lease"
	keyNetworkConfig = "networkConfig"
	keyPrefix        = "prefix"
	keyPeer          = "peer"
	keyElapsed       = "elapsed"
	keyReason        = "reason"
	keyAdded         = "added"
	keyDeleted       = "deleted"
)
