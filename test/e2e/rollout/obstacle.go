package rollout

import (
	"context"
	"fmt"
)

// Obstacle is what somebody else does to a node or to the underlay.
type Obstacle struct {
	Name string
	// Place is where: a node, or "switch".
	Place string
	// Put and Remove are shell commands.
	Put, Remove string
}

// put puts the obstacle in the way.
func (w *World) put(ctx context.Context, o Obstacle) error {
	if o.Put == "" {
		return nil
	}
	if _, err := w.sh(ctx, o.Place, o.Put); err != nil {
		return fmt.Errorf("%s: %w", o.Name, err)
	}
	return nil
}

// remove takes the obstacle away, whether it is there or not.
func (w *World) remove(ctx context.Context, o Obstacle) error {
	if o.Remove == "" {
		return nil
	}
	if _, err := w.sh(ctx, o.Place, o.Remove); err != nil {
		return fmt.Errorf("%s: %w", o.Name, err)
	}
	return nil
}

// portDropped is a firewall on a node that drops a UDP port.
func portDropped(node string, port int) Obstacle {
	return Obstacle{
		Name: fmt.Sprintf("firewall of %s drops UDP %d", node, port), Place: node,
		Put:    fmt.Sprintf("nft 'table inet firewall { chain input { type filter hook input priority 0; udp dport %d counter drop; }; }'", port),
		Remove: "nft delete table inet firewall 2>/dev/null || true",
	}
}

// foreignForward is another tool's filter: it drops all that is forwarded but what passes by the tunnel of today.
func foreignForward(node, device string) Obstacle {
	return Obstacle{
		Name: "forward policy of " + node, Place: node,
		Put: fmt.Sprintf(`nft 'table inet foreign { chain forward { type filter hook forward priority 10; policy drop; iifname "%[1]s" accept; oifname "%[1]s" accept; }; }'`,
			device),
		Remove: "nft delete table inet foreign 2>/dev/null || true",
	}
}

// podAddressesDropped is a cloud: the segment answers for nodes, and drops what has pods' addresses on it.
func podAddressesDropped() Obstacle {
	return Obstacle{
		Name: "the segment drops pod addresses", Place: "switch",
		Put:    "nft 'table bridge cloud { chain guard { type filter hook forward priority 0; ip saddr 10.244.0.0/16 drop; ip daddr 10.244.0.0/16 drop; }; }'",
		Remove: "nft delete table bridge cloud 2>/dev/null || true",
	}
}

// smallUnderlay is a switch port that carries less than the nodes' interfaces say, silently.
func smallUnderlay(node string, mtu int) Obstacle {
	return Obstacle{
		Name: fmt.Sprintf("the port of %s carries %d bytes", node, mtu), Place: "switch",
		Put:    fmt.Sprintf("ip link set p-%s mtu %d", node, mtu),
		Remove: fmt.Sprintf("ip link set p-%s mtu 1500", node),
	}
}
