package flannel

import (
	"slices"
	"strings"
)

// topLevel are all keys that flannel reads at the top of net-conf.json.
func topLevel() []string {
	return []string{
		"EnableIPv4", "EnableIPv6", "EnableNFTables", "Network", "IPv6Network", "Networks", "IPv6Networks",
		"SubnetMin", "SubnetMax", "SubnetLen", "IPv6SubnetMin", "IPv6SubnetMax", "IPv6SubnetLen", "Backend",
	}
}

// notCarried is why a top-level key has no counterpart.
func notCarried(key string) string {
	switch strings.ToLower(key) {
	case "ipv6network", "ipv6networks", "ipv6subnetmin", "ipv6subnetmax", "ipv6subnetlen":
		return "this version of hopsack has IPv4 only: pods get no IPv6 address"
	case "networks":
		return "there is one network; flannel fills this in itself and ignores what is written"
	case "enablenftables":
		return "hopsack always uses nftables, in a table of its own"
	}
	return ""
}

// backendKeys are flannel's backends and all keys that they read, besides Type.
func backendKeys(backend string) (keys []string, known bool) {
	all := map[string][]string{
		"vxlan":       {"VNI", "Port", "MTU", "GBP", "Learning", "DirectRouting", "Name", "MacPrefix"},
		"host-gw":     {"Name", "DNSServerList"},
		"udp":         {"Port"},
		"alloc":       {},
		"wireguard":   {"PSK", "ListenPort", "ListenPortV6", "MTU", "Mode", "PersistentKeepaliveInterval"},
		"ipip":        {"DirectRouting"},
		"ipsec":       {"PSK", "UDPEncap", "ESPProposal"},
		"extension":   {"PreStartupCommand", "PostStartupCommand", "ShutdownCommand", "SubnetAddCommand", "SubnetRemoveCommand"},
		"aws-vpc":     {"RouteTableID"},
		"gce":         {},
		"ali-vpc":     {"AccessKeyID", "AccessKeySecret"},
		"tencent-vpc": {"AccessKeyID", "AccessKeySecret"},
	}
	keys, known = all[backend]
	return keys, known
}

// impossible is why hopsack cannot do what a backend does, "" where it can.
func impossible(backend string) string {
	switch backend {
	case "wireguard", "ipsec":
		return "it encrypts, and hopsack has no backend yet that does: anything else would send in the clear what is encrypted now"
	case "ipip":
		return "hopsack has no IPIP tunnel"
	case "extension":
		return "hopsack runs no commands of users to reach other nodes"
	case "aws-vpc", "gce", "ali-vpc", "tencent-vpc":
		return "hopsack writes no route tables of clouds"
	}
	return ""
}

// advice is what to choose in place of an impossible backend.
func advice(backend string) string {
	switch backend {
	case "aws-vpc", "gce", "ali-vpc", "tencent-vpc":
		return "choose with --backend: alloc, if the cloud controller manager writes the routes (--configure-cloud-routes); vxlan otherwise"
	case "wireguard", "ipsec":
		return "choose with --backend vxlan, if the packets may travel in the clear"
	default:
		return "choose with --backend, for example vxlan"
	}
}

// secret says whether a key's value must not be repeated.
func secret(key string) bool {
	return slices.Contains([]string{"psk", "accesskeyid", "accesskeysecret"}, strings.ToLower(key))
}
