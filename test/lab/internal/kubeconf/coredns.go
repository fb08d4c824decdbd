package kubeconf

import _ "embed"

// CoreDNS is the manifest of the cluster's name server, whose Service has the address 10.96.0.10.
//
//go:embed coredns.yaml
var CoreDNS []byte
