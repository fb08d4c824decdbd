package loss

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os/exec"
	"syscall"
	"time"
)

// Counts is what one stream, or all together, came to. A zero value is a stream that sent nothing.
type Counts struct {
	// Sent and Lost are packets of a UDP stream, records of a long-lived TCP stream and connections of a new-connection
	// stream. In the totals they are UDP packets.
	Sent int64 `json:"sent"`
	Lost int64 `json:"lost"`
	// WrongSource is packets or connections that arrived from another address than expected.
	WrongSource int64 `json:"wrongSource"`
	// Broken is TCP connections that were reset, could not be opened or did not deliver within DrainTCP. A long-lived
	// connection counts in the stream of its client.
	Broken int64 `json:"broken"`
	// LongestGapMs is the longest time without an arrival, by the kernel's receive timestamps. UDP only.
	LongestGapMs float64 `json:"longestGapMs"`
	// TCPStallMs is the longest time without a record on a long-lived connection, or the longest a new connection took to
	// answer. TCP only. A busy machine makes it up to JitterMs longer at each end.
	TCPStallMs float64 `json:"tcpStallMs"`
	// JitterMs is the most the probe itself was late with a packet: a gap not longer than this is the machine's.
	JitterMs float64 `json:"jitterMs"`

	// Duplicates is packets that arrived more than once; they are received once.
	Duplicates int64 `json:"duplicates,omitempty"`
	// Refused is packets the sender's own kernel refused; they are in Lost too.
	Refused int64 `json:"refused,omitempty"`
	// Resized is packets refused as too big and resent at once at the route's new MTU; they are not lost by that.
	Resized int64 `json:"resized,omitempty"`
	// Skipped is packets never sent because the probe was more than 100 ms late or had no socket. They are not in Sent.
	Skipped int64 `json:"skipped,omitempty"`
	// Overflowed is packets the probe's own socket dropped because it was not read in time. They are not in Lost.
	Overflowed int64 `json:"overflowed,omitempty"`
	// SmallestPacket and LargestPacket are IP packet sizes in bytes, with SizeMax only.
	SmallestPacket int `json:"smallestPacket,omitempty"`
	LargestPacket  int `json:"largestPacket,omitempty"`
	// FirstError is the first refusal, the first reason for a broken connection or for having no socket.
	FirstError string `json:"firstError,omitempty"`
}

// Stream is the counts of one stream, for example "n1p->n2p udp long-lived".
type Stream struct {
	Name string `json:"name"`
	Counts
}

// Result is one measurement.
type Result struct {
	From string `json:"from"`
	To   string `json:"to"`
	// DurationMs is how long the command ran.
	DurationMs float64 `json:"durationMs"`
	// MachineDropped is packets, of anybody, that this machine's kernel dropped during the measurement because a CPU's input
	// queue was full. As many lost packets, and a TCP stall, may be the machine's and not the network's.
	MachineDropped int64 `json:"machineDropped"`
	Counts
	Streams []Stream `json:"streams"`
}

// WriteJSON writes r as one line.
func (r Result) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false) // stream names hold "->"
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// Stream returns the counts of the stream called name; ok is false when there is none.
func (r Result) Stream(name string) (c Counts, ok bool) {
	for _, s := range r.Streams {
		if s.Name == name {
			return s.Counts, true
		}
	}
	return Counts{}, false
}

// OverloadError says that the probe lost packets itself: the machine was too busy to read them.
type OverloadError struct {
	// Packets is how many packets the probe's own sockets dropped.
	Packets int64
}

// Error names the number of packets.
func (e *OverloadError) Error() string {
	return fmt.Sprintf("the probe's own sockets dropped %d packets: the machine was too busy to measure", e.Packets)
}

// CommandError wraps what Options.During returned. The Result beside it is complete.
type CommandError struct {
	Err error
}

// Error is the command's error.
func (e *CommandError) Error() string { return e.Err.Error() }

// ExitCode is what a shell would report: the command's exit status, 128 plus the signal that ended it, or 1 when it did
// not run.
func (e *CommandError) ExitCode() int {
	var exit *exec.ExitError
	if !errors.As(e.Err, &exit) {
		return 1
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}

// Unwrap returns the command's error.
func (e *CommandError) Unwrap() error { return e.Err }

// totals sums streams: UDP packets only in Sent and Lost, the maximum of every duration.
func totals(udp, tcp []Stream) Counts {
	var t Counts
	for _, s := range udp {
		t.Sent += s.Sent
		t.Lost += s.Lost
	}
	for _, s := range append(append([]Stream{}, udp...), tcp...) {
		t.WrongSource += s.WrongSource
		t.Broken += s.Broken
		t.Duplicates += s.Duplicates
		t.Refused += s.Refused
		t.Resized += s.Resized
		t.Skipped += s.Skipped
		t.Overflowed += s.Overflowed
		t.LongestGapMs = max(t.LongestGapMs, s.LongestGapMs)
		t.TCPStallMs = max(t.TCPStallMs, s.TCPStallMs)
		t.JitterMs = max(t.JitterMs, s.JitterMs)
		t.LargestPacket = max(t.LargestPacket, s.LargestPacket)
		if s.SmallestPacket > 0 && (t.SmallestPacket == 0 || s.SmallestPacket < t.SmallestPacket) {
			t.SmallestPacket = s.SmallestPacket
		}
		if t.FirstError == "" {
			t.FirstError = s.FirstError
		}
	}
	return t
}

// millis rounds d to microseconds and returns milliseconds.
func millis(d time.Duration) float64 {
	return math.Round(float64(d)/float64(time.Microsecond)) / 1000
}
