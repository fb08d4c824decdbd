package rollout

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
)

// dumpScript prints the state of a node that is hopsack's to make, without what pods or time change. The hs-probe veth and all
// random addresses are left out with "link"; the sysctls are not in it, because filtering stays loose for a while on purpose.
const dumpScript = `ls /sys/class/net | grep -v ^veth | sed 's/^/link /'
ip -4 -o addr show | grep -v ' veth' | awk '{print "addr", $2, $3, $4}'
ip -4 route show table all | grep -v 'dev veth' | sed 's/^/route /; s/ linkdown//'
ip -4 rule show | sed 's/^/rule /'
for d in $(ls /sys/class/net | grep '^hs[0-9]'); do bridge fdb show dev $d; done | sed 's/^/fdb /'
ip -4 neigh show nud permanent | sed 's/^/neigh /'
nft list table inet hopsack | sed 's/counter packets [0-9]* bytes [0-9]*/counter/g' | sed 's/^/nft /'
iptables-nft -S FORWARD | sed 's/^/iptables /'
for f in /run/flannel/subnet.env /etc/cni/net.d/05-hopsack.conflist /run/hopsack/cni.json; do sed "s,^,$f ," $f; done`

// routesScript prints the routes that packets of pods take.
const routesScript = `ip -4 route show table main`

// elements matches what a set of nftables lists, in an order of the kernel's choice.
var elements = regexp.MustCompile(`, *`)

// Dump describes the kernel state and the files of every node and what the API tells the nodes, so that two equal dumps mean
// that nothing was left over.
func (w *World) Dump(ctx context.Context) (string, error) { return w.onNodes(ctx, dumpScript) }

// AtRest is the dump of a cluster where nothing lingers any more: it waits until nothing has changed for a second.
func (w *World) AtRest(ctx context.Context) (string, error) {
	var last string
	err := w.within(ctx, "the nodes to come to rest", func() (bool, error) {
		before := last
		if err := w.pause(ctx, time.Second); err != nil {
			return false, err
		}
		var err error
		last, err = w.Dump(ctx)
		return err == nil && last == before, err
	})
	return last, err
}

// Routes are the main tables of all nodes, as the kernel prints them.
func (w *World) Routes(ctx context.Context) (string, error) { return w.onNodes(ctx, routesScript) }

func (w *World) onNodes(ctx context.Context, script string) (string, error) {
	nodes, err := w.nodes()
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, n := range nodes {
		text, err := w.sh(ctx, n, script)
		if err != nil {
			return "", err
		}
		found := lines(elements.ReplaceAllString(text, ",\n"))
		slices.Sort(found)
		fmt.Fprintf(&out, "%s:\n  %s\n", n, strings.Join(found, "\n  "))
	}
	specs, err := w.Lab.Kubectl(ctx, "get", "nodenetworks", "-o",
		`jsonpath={range .items[*]}{.metadata.name} {.spec.revisions} {.spec.transmit} {.status.preparedRevisions} {.status.transmitRevision} {.status.failedRevision}{"\n"}{end}`)
	if script == dumpScript {
		out.WriteString(specs)
	}
	return out.String(), err
}

// LeavesNothing waits until a dump is as it was before: what lingers on purpose goes within a second, and some reports are
// made once a minute.
func (w *World) LeavesNothing(ctx context.Context, before string) error {
	deadline := time.Now().Add(15 * time.Second)
	for {
		now, err := w.Dump(ctx)
		if err == nil && now == before {
			return nil
		}
		if time.Now().After(deadline) {
			if err != nil {
				return err
			}
			return fmt.Errorf("something is not as before (-before +now):\n%s", cmp.Diff(strings.Split(before, "\n"), strings.Split(now, "\n")))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}
