package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

func datapathCases() []benchCase {
	var out []benchCase
	for _, offloads := range []bool{true, false} {
		name, what := "datapath/on", "send between pods of two nodes, plain routes against hopsack, offloads on"
		if !offloads {
			name, what = "datapath/off", "the same with GSO, TSO and GRO off"
		}
		out = append(out, benchCase{name: name, what: what, run: func(ctx context.Context, _ settings) error { return benchDatapath(ctx, offloads) }})
	}
	return out
}

const (
	datapathRounds = 5
	// streamTime is how long one TCP stream or UDP flood lasts.
	streamTime = time.Second
	// exchanges is how many packets go there and back for one round trip figure.
	exchanges = 3000
)

// datapathResult: plain is two nodes with a route to each other's pods and nothing else; vxlan and direct are the same pods
// under hopsack. Ratios are hopsack's figure divided by plain's: for TCP and UDP less than 1 is slower, for the round trip
// more than 1 is.
type datapathResult struct {
	Bench    string `json:"bench"`
	Offloads string `json:"offloads"`
	Rounds   int    `json:"rounds"`

	PlainTCP  float64 `json:"plain_tcp_mbps"`
	VXLANTCP  float64 `json:"vxlan_tcp_mbps"`
	DirectTCP float64 `json:"direct_tcp_mbps"`
	PlainUDP  float64 `json:"plain_udp_pps"`
	VXLANUDP  float64 `json:"vxlan_udp_pps"`
	DirectUDP float64 `json:"direct_udp_pps"`
	PlainRTT  float64 `json:"plain_rtt_p50_us"`
	VXLANRTT  float64 `json:"vxlan_rtt_p50_us"`
	DirectRTT float64 `json:"direct_rtt_p50_us"`

	VXLANTCPRatio  float64 `json:"vxlan_tcp_ratio"`
	DirectTCPRatio float64 `json:"direct_tcp_ratio"`
	VXLANUDPRatio  float64 `json:"vxlan_udp_ratio"`
	DirectUDPRatio float64 `json:"direct_udp_ratio"`
	VXLANRTTRatio  float64 `json:"vxlan_rtt_ratio"`
	DirectRTTRatio float64 `json:"direct_rtt_ratio"`
	// The share of the UDP packets sent that arrived; where it is low, the figure is one of the receiver.
	PlainUDPArrived  float64 `json:"plain_udp_arrived"`
	VXLANUDPArrived  float64 `json:"vxlan_udp_arrived"`
	DirectUDPArrived float64 `json:"direct_udp_arrived"`
}

// figures are what was measured in one world, one value per round.
type figures struct {
	tcp, udp, arrived, rtt []float64
}

// benchDatapath measures each world in turn, a little at a time.
func benchDatapath(ctx context.Context, offloads bool) error {
	worlds, err := newWorlds(ctx)
	defer func() {
		for _, w := range worlds {
			w.remove()
		}
	}()
	if err != nil {
		return err
	}
	for _, w := range worlds {
		if err := w.setOffloads(offloads); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	for round := range datapathRounds {
		for i := range worlds {
			w := worlds[(round+i)%len(worlds)]
			if err := errors.Join(ctx.Err(), w.measure()); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
		}
	}
	for _, w := range worlds {
		say("  %-6s TCP %.0f Mbit/s, UDP %.0f packets/s (%.0f %% of what was sent), round trip %.1f us", w.name,
			median(w.tcp), median(w.udp), 100*median(w.arrived), median(w.rtt))
	}
	return emit(datapathSummary(offloads, worlds[0].figures, worlds[1].figures, worlds[2].figures))
}

func datapathSummary(offloads bool, plain, vxlan, direct figures) datapathResult {
	r := datapathResult{
		Bench: "datapath", Offloads: "off", Rounds: datapathRounds,
		PlainTCP: round(median(plain.tcp), 0), VXLANTCP: round(median(vxlan.tcp), 0), DirectTCP: round(median(direct.tcp), 0),
		PlainUDP: round(median(plain.udp), 0), VXLANUDP: round(median(vxlan.udp), 0), DirectUDP: round(median(direct.udp), 0),
		PlainRTT: round(median(plain.rtt), 1), VXLANRTT: round(median(vxlan.rtt), 1), DirectRTT: round(median(direct.rtt), 1),
		PlainUDPArrived: round(median(plain.arrived), 3), VXLANUDPArrived: round(median(vxlan.arrived), 3), DirectUDPArrived: round(median(direct.arrived), 3),
	}
	if offloads {
		r.Offloads = "on"
	}
	r.VXLANTCPRatio, r.DirectTCPRatio = ratio(r.VXLANTCP, r.PlainTCP), ratio(r.DirectTCP, r.PlainTCP)
	r.VXLANUDPRatio, r.DirectUDPRatio = ratio(r.VXLANUDP, r.PlainUDP), ratio(r.DirectUDP, r.PlainUDP)
	r.VXLANRTTRatio, r.DirectRTTRatio = ratio(r.VXLANRTT, r.PlainRTT), ratio(r.DirectRTT, r.PlainRTT)
	return r
}
