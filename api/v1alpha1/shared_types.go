package v1alpha1

// Toggle switches a behaviour on or off.
// +kubebuilder:validation:Enum=Enabled;Disabled
type Toggle string

// Values of Toggle.
const (
	Enabled  Toggle = "Enabled"
	Disabled Toggle = "Disabled"
)

// BackendType names how packets travel between nodes.
// +kubebuilder:validation:Enum=vxlan;host-gw;udp;alloc
type BackendType string

// Values of BackendType.
const (
	// BackendVXLAN encapsulates in VXLAN (RFC 7348).
	BackendVXLAN BackendType = "vxlan"
	// BackendHostGW routes through the peers' own addresses; all nodes must share one segment.
	BackendHostGW BackendType = "host-gw"
	// BackendUDP carries packets in UDP datagrams (IP in UDP) through the agent's own process, for underlays and kernels that
	// allow nothing else. Its data path stops while the agent does.
	BackendUDP BackendType = "udp"
	// BackendAlloc hands out subnets and bridges pods; somebody else routes between nodes.
	BackendAlloc BackendType = "alloc"
)

// DirectRouting says when the vxlan backend leaves the encapsulation out.
// +kubebuilder:validation:Enum=Never;OnLink;Verified
type DirectRouting string

// Values of DirectRouting.
const (
	// DirectRoutingNever encapsulates towards every peer.
	DirectRoutingNever DirectRouting = "Never"
	// DirectRoutingOnLink routes plainly towards peers on the same segment. A change to it is refused where that is not
	// proven to work, and a path that breaks later stays broken.
	DirectRoutingOnLink DirectRouting = "OnLink"
	// DirectRoutingVerified routes plainly towards those peers on the same segment to which that is proven to work, and
	// encapsulates towards the rest. Paths are probed for as long as it is in force.
	DirectRoutingVerified DirectRouting = "Verified"
)

// Backend is a union: type says which member applies.
// +kubebuilder:validation:XValidation:rule="self.type == 'vxlan' || !has(self.vxlan)",message="backend.vxlan is set, but backend.type is not vxlan"
// +kubebuilder:validation:XValidation:rule="self.type == 'host-gw' || !has(self.hostGW)",message="backend.hostGW is set, but backend.type is not host-gw"
// +kubebuilder:validation:XValidation:rule="self.type == 'udp' || !has(self.udp)",message="backend.udp is set, but backend.type is not udp"
// +kubebuilder:validation:XValidation:rule="self.type == 'alloc' || !has(self.alloc)",message="backend.alloc is set, but backend.type is not alloc"
// +union
type Backend struct {
	// type is the backend: vxlan, host-gw, udp or alloc.
	// +required
	// +unionDiscriminator
	Type BackendType `json:"type,omitempty"`

	// vxlan holds the settings of type vxlan. Absent means its defaults.
	// +optional
	VXLAN *VXLANBackend `json:"vxlan,omitempty"`

	// hostGW holds the settings of type host-gw. It has none yet.
	// +optional
	HostGW *HostGWBackend `json:"hostGW,omitempty"`

	// udp holds the settings of type udp. Absent means its defaults.
	// +optional
	UDP *UDPBackend `json:"udp,omitempty"`

	// alloc holds the settings of type alloc. It has none yet.
	// +optional
	Alloc *AllocBackend `json:"alloc,omitempty"`
}

// VXLANBackend holds the settings of the vxlan backend.
type VXLANBackend struct {
	// vni is the VXLAN network identifier, 1 to 16777215. Default 1.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=16777215
	VNI *int32 `json:"vni,omitempty"`

	// port is the UDP port of the tunnel on every node, 1 to 65535. Default 8472, the port Linux has always used; RFC 7348
	// has 4789.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port *int32 `json:"port,omitempty"`

	// directRouting says when the encapsulation is left out: Never (default); OnLink, towards every peer on the same segment;
	// or Verified, towards the peers on the same segment to which it is proven to work.
	// +optional
	DirectRouting DirectRouting `json:"directRouting,omitempty"`
}

// UDPBackend holds the settings of the udp backend.
type UDPBackend struct {
	// port is the UDP port on every node, 1 to 65535. Default 8285.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port *int32 `json:"port,omitempty"`
}

// HostGWBackend has no settings.
type HostGWBackend struct{}

// AllocBackend has no settings.
type AllocBackend struct{}

// InterfaceSelection says how a node finds its underlay interface. The rules are tried in the order names, regexes,
// canReach, cidrs; the first interface that matches and has an address is taken. With no rule at all, it is the interface
// that holds the Node's InternalIP, else that of the default route.
type InterfaceSelection struct {
	// names are interface names, for example "eth1", tried in order.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=15
	Names []string `json:"names,omitempty"`

	// regexes are RE2 expressions matched against the whole interface name, for example "ens[0-9]+", tried in order.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	Regexes []string `json:"regexes,omitempty"`

	// canReach takes the interface, and the source address, that the kernel would use to reach this address, for example
	// "192.0.2.1".
	// +optional
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:XValidation:rule="isIP(self) && ip.isCanonical(self)",message="interface.canReach must be an IP address in canonical form, such as 192.0.2.1"
	CanReach string `json:"canReach,omitempty"`

	// cidrs take the interface whose address lies inside, for example "192.168.10.0/24", tried in order. They also allow an
	// agent to publish such an address although the Node object does not list it.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && string(cidr(self).masked()) == self",message="interface.cidrs must hold CIDRs in canonical form with zero host bits, such as 192.168.10.0/24"
	CIDRs []string `json:"cidrs,omitempty"`
}
