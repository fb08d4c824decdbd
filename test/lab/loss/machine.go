package loss

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// machineDropped is how many packets this machine's kernel has dropped since it started because a CPU's input queue was
// full (net.core.netdev_max_backlog). Every veth of every namespace goes through these queues, so a neighbour that
// floods its own devices costs the probe packets too.
func machineDropped() (int64, error) {
	b, err := os.ReadFile("/proc/net/softnet_stat")
	if err != nil {
		return 0, fmt.Errorf("read input queue drops: %w", err)
	}
	return parseSoftnet(string(b))
}

// parseSoftnet sums the second column, in hexadecimal, of a line per CPU.
func parseSoftnet(text string) (int64, error) {
	var sum int64
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			return 0, fmt.Errorf("read input queue drops: unexpected line %q", line)
		}
		n, err := strconv.ParseUint(fields[1], 16, 32)
		if err != nil {
			return 0, fmt.Errorf("read input queue drops: %w", err)
		}
		sum += int64(n)
	}
	return sum, nil
}
