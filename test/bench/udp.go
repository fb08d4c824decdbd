package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

func udpCases() []benchCase {
	var out []benchCase
	for _, cores := range []int{1, 2} {
		out = append(out, benchCase{
			name: fmt.Sprintf("udp/%d", cores), what: fmt.Sprintf("send between pods of two nodes by udp, vxlan and plain routes, everything on %d core(s)", cores),
			run: func(ctx context.Context, _ settings) error { return benchUDP(ctx, cores) },
		})
	}
	return out
}

// udpRounds is how often each way is measured, a little at a time.
const udpRounds = 7

// udpResult has one TCP stream, a flood of small UDP packets and a ping-pong, offloads on, of the udp backend, VXLAN and plain
// routes. Ratios are to VXLAN, and to plain where they say so. CPU seconds are those of sender, receiver and backend together;
// what the kernel does in threads of its own is not in them.
type udpResult struct {
	Bench  string `json:"bench"`
	Cores  int    `json:"cores"`
	Rounds int    `json:"rounds"`

	PlainTCP float64 `json:"plain_tcp_mbps"`
	VXLANTCP float64 `json:"vxlan_tcp_mbps"`
	UDPTCP   float64 `json:"udp_tcp_mbps"`
	PlainPPS float64 `json:"plain_udp_pps"`
	VXLANPPS float64 `json:"vxlan_udp_pps"`
	UDPPPS   float64 `json:"udp_udp_pps"`
	PlainRTT float64 `json:"plain_rtt_p50_us"`
	VXLANRTT float64 `json:"vxlan_rtt_p50_us"`
	UDPRTT   float64 `json:"udp_rtt_p50_us"`
	PlainCPU float64 `json:"plain_cpu_s_per_gb"`
	VXLANCPU float64 `json:"vxlan_cpu_s_per_gb"`
	UDPCPU   float64 `json:"udp_cpu_s_per_gb"`

	TCPRatio      float64 `json:"tcp_ratio"`
	TCPPlainRatio float64 `json:"tcp_plain_ratio"`
	PPSRatio      float64 `json:"udp_pps_ratio"`
	RTTRatio      float64 `json:"rtt_ratio"`
	CPURatio      float64 `json:"cpu_ratio"`

	// Library is the same with wireguard-go's packages for the device and the socket; ratios are the udp backend's to it.
	LibraryTCP      float64 `json:"library_tcp_mbps"`
	LibraryPPS      float64 `json:"library_udp_pps"`
	LibraryCPU      float64 `json:"library_cpu_s_per_gb"`
	LibraryTCPRatio float64 `json:"tcp_library_ratio"`
	LibraryPPSRatio float64 `json:"udp_pps_library_ratio"`
	LibraryCPURatio float64 `json:"cpu_library_ratio"`

	// The share of the UDP packets sent that arrived.
	VXLANArrived float64 `json:"vxlan_udp_arrived"`
	UDPArrived   float64 `json:"udp_udp_arrived"`
}

func benchUDP(ctx context.Context, cores int) error {
	if err := pin(cores); err != nil {
		return err
	}
	worlds := []*udpWorld{
		{name: "plain", device: underlayDevice, connect: connectPlain, mtu: underlayMTU},
		{name: "vxlan", device: vxlanBench, connect: connectVXLAN, mtu: underlayMTU - vxlanOverhead},
		{name: "udp", device: udpDevice, connect: connectUDP, mtu: underlayMTU - udpOverhead},
		{name: libraryWorld, device: udpDevice, connect: connectUDP, mtu: underlayMTU - udpOverhead},
	}
	defer func() {
		for _, w := range worlds {
			w.remove()
		}
	}()
	for _, w := range worlds {
		if err := w.build(); err != nil {
			return fmt.Errorf("build the world %s: %w", w.name, err)
		}
	}
	for round := range udpRounds {
		for i := range worlds {
			w := worlds[(round+i)%len(worlds)]
			if err := errors.Join(ctx.Err(), w.measure()); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
		}
	}
	for _, w := range worlds {
		say("  %-6s TCP %.0f Mbit/s at %.2f CPU s/GB, UDP %.0f packets/s (%.0f %% of what was sent) at %.2f CPU s per million, round trip %.1f us", w.name,
			median(w.tcp), median(w.cpuPerGB), median(w.pps), 100*median(w.arrived), median(w.cpuPerMillion), median(w.rtt))
	}
	return emit(udpSummary(cores, worlds[0], worlds[1], worlds[2], worlds[3]))
}

func udpSummary(cores int, plain, vxlan, udp, library *udpWorld) udpResult {
	r := udpResult{
		Bench: "udp", Cores: cores, Rounds: udpRounds,
		PlainTCP: round(median(plain.tcp), 0), VXLANTCP: round(median(vxlan.tcp), 0), UDPTCP: round(median(udp.tcp), 0),
		PlainPPS: round(median(plain.pps), 0), VXLANPPS: round(median(vxlan.pps), 0), UDPPPS: round(median(udp.pps), 0),
		PlainRTT: round(median(plain.rtt), 1), VXLANRTT: round(median(vxlan.rtt), 1), UDPRTT: round(median(udp.rtt), 1),
		PlainCPU: round(median(plain.cpuPerGB), 2), VXLANCPU: round(median(vxlan.cpuPerGB), 2), UDPCPU: round(median(udp.cpuPerGB), 2),
		LibraryTCP: round(median(library.tcp), 0), LibraryPPS: round(median(library.pps), 0), LibraryCPU: round(median(library.cpuPerGB), 2),
		VXLANArrived: round(median(vxlan.arrived), 3), UDPArrived: round(median(udp.arrived), 3),
	}
	r.TCPRatio, r.TCPPlainRatio = ratio(r.UDPTCP, r.VXLANTCP), ratio(r.UDPTCP, r.PlainTCP)
	r.PPSRatio, r.RTTRatio, r.CPURatio = ratio(r.UDPPPS, r.VXLANPPS), ratio(r.UDPRTT, r.VXLANRTT), ratio(r.UDPCPU, r.VXLANCPU)
	r.LibraryTCPRatio, r.LibraryPPSRatio = ratio(r.UDPTCP, r.LibraryTCP), ratio(r.UDPPPS, r.LibraryPPS)
	r.LibraryCPURatio = ratio(r.UDPCPU, r.LibraryCPU)
	return r
}

// measure is one round.
func (w *udpWorld) measure() error {
	from, to := w.pods[0], w.pods[1]
	return errors.Join(
		w.onDevice(func() (uint64, error) {
			before := w.cpu()
			bytes, took, err := tcpStream(from, to, streamTime)
			w.tcp = append(w.tcp, float64(bytes)*8/1e6/took.Seconds())
			w.cpuPerGB = append(w.cpuPerGB, (w.cpu()-before).Seconds()/(float64(bytes)/1e9))
			return bytes, err
		}),
		w.onDevice(func() (uint64, error) {
			before := w.cpu()
			f, err := udpFlood(from, to, streamTime)
			w.pps = append(w.pps, float64(f.received)/f.took.Seconds())
			w.arrived = append(w.arrived, float64(f.received)/float64(max(1, f.sent)))
			w.cpuPerMillion = append(w.cpuPerMillion, (w.cpu()-before).Seconds()/(float64(f.received)/1e6))
			return f.received * floodSize, err
		}),
		w.onDevice(func() (uint64, error) {
			trips, err := roundTrips(from, to, exchanges)
			w.rtt = append(w.rtt, float64(trips.p50())/float64(time.Microsecond))
			return uint64(len(trips)) * floodSize, err
		}),
	)
}

// onDevice runs a test and proves that what arrived went out by the world's device.
func (w *udpWorld) onDevice(test counted) error {
	before, err := w.sent()
	if err != nil {
		return err
	}
	payload, err := test()
	if err != nil {
		return err
	}
	after, err := w.sent()
	if err != nil {
		return err
	}
	if payload == 0 || after-before < payload {
		return fmt.Errorf("%d bytes arrived and %d went out by %s", payload, after-before, w.device)
	}
	return nil
}

// pin keeps every thread of this process, there is and will be, on so many cores.
func pin(cores int) error {
	if n := runtime.NumCPU(); n < cores {
		return fmt.Errorf("there are %d cores, want %d", n, cores)
	}
	runtime.GOMAXPROCS(cores)
	var have, set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &have); err != nil {
		return fmt.Errorf("read affinity: %w", err)
	}
	for cpu := 0; set.Count() < cores; cpu++ {
		if have.IsSet(cpu) {
			set.Set(cpu)
		}
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(id, &set); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("set affinity: %w", err)
		}
	}
	return nil
}

// cpu is what all threads of this process and the tunnels' have used, on their own behalf and in the kernel.
func (w *udpWorld) cpu() time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	sum := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	for _, p := range w.tunnels {
		sum += p.cpu()
	}
	return sum
}
