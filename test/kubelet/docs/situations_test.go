package docs

import (
	"context"
	"fmt"
	"strings"
)

// situation is something that a page speaks about, brought about and ended by commands. A line begins with the place where the
// rest is run; "admin" is where the user sits.
type situation struct{ begin, end string }

// back puts the network of the sample in force, whatever a page has made of it, and waits for it.
const back = `
admin kubectl patch networkconfig default --type=json -p '[{"op":"replace","path":"/spec","value":{"network":"10.244.0.0/16","podCIDRs":"Ignore","backend":{"type":"vxlan"}}}]'
admin kubectl hopsack rollout status --timeout 90s --stall-patience 60s
`

// nodesAgree waits until every Node is Ready by a word that is newer than the network: kubelets notice late that there was none
// for a while, and that there is one again.
const nodesAgree = `since=$(date -u +%FT%TZ); export since; timeout 90 bash -c 'until kubectl get nodes -o jsonpath="{range .items[*]}` +
	`{.status.conditions[?(@.type==\"Ready\")].status} {.status.conditions[?(@.type==\"Ready\")].lastHeartbeatTime}{\"\\n\"}{end}" | ` +
	`awk "\$1 != \"True\" || \$2 <= \"$since\" {late = 1} END {exit late || NR == 0}"; do sleep 1; done'`

// situations by the name that pages have for them.
var situations = map[string]situation{
	"": {},
	"nothing-installed": {begin: `
admin kubectl delete -f dist/install.yaml --wait=true
`},
	"namespace-gone": {begin: `
admin kubectl wait --for=delete namespace/hopsack-system --timeout=90s
`},
	"no-address": {begin: `
admin kubectl --namespace hopsack-system delete configmap hopsack-apiserver --ignore-not-found
`},
	"change": {end: back},
	"network": {begin: `
admin kubectl apply -f config/samples/networkconfig.yaml
admin kubectl hopsack rollout status --timeout 90s
admin ` + nodesAgree + `
`},
	"overlap": {begin: `
admin kubectl patch networkconfig default --type=merge -p '{"spec":{"network":"10.96.0.0/12"}}'
`, end: back},
	// A Node without a machine is all it takes.
	"full": {begin: `
admin kubectl patch networkconfig default --type=merge -p '{"spec":{"subnetMax":"10.244.3.0"}}'
admin kubectl create -f - <<<'{"apiVersion":"v1","kind":"Node","metadata":{"name":"n4"}}'
`, end: `
admin kubectl delete node n4
` + back},
	"port-blocked": {begin: blocked("udp dport 8472"), end: unblocked},
	"pair-blocked": {begin: blocked("ip saddr 172.30.0.11 udp dport 8472"), end: unblocked},
	"pods": {begin: `
admin kubectl run web --image=registry.k8s.io/e2e-test-images/agnhost:2.63.0 --overrides='{"spec":{"nodeName":"n3","terminationGracePeriodSeconds":0}}' -- netexec
admin kubectl wait --for=condition=Ready pod/web --timeout=60s
`},
	"route-taken": {begin: `
n2 ip route replace $(hopsack-agent status | awk '$1 == "n3" {print $2}') via 172.30.0.1 proto static
`, end: `
n2 ip route del $(hopsack-agent status | awk '$1 == "n3" {print $2}') proto static
`},
	"narrow": {begin: `
router ip link set s3 mtu 1400
`, end: `
router ip link set s3 mtu 1500
`},
	"same-address": {begin: `
admin kubectl annotate node n3 net.hopsack.dev/public-ip=172.30.0.12
`, end: `
admin kubectl annotate node n3 net.hopsack.dev/public-ip-
`},
	"other-cni": {begin: `
n2 echo '{"cniVersion":"1.0.0","name":"cbr0","plugins":[{"type":"flannel"}]}' >/etc/cni/net.d/00-flannel.conflist
`, end: `
n2 rm /etc/cni/net.d/00-flannel.conflist
`},
	"new-port-blocked": {begin: blocked("udp dport 4789") + `
admin kubectl patch networkconfig default --type=merge -p '{"spec":{"backend":{"type":"vxlan","vxlan":{"port":4789}}}}'
`, end: unblocked + back},
	"cloud": {begin: `
switch nft 'add table bridge cloud; add chain bridge cloud drops { type filter hook forward priority 0; }; add rule bridge cloud drops ip saddr 10.244.0.0/16 drop'
admin kubectl patch networkconfig default --type=merge -p '{"spec":{"backend":{"type":"vxlan","vxlan":{"directRouting":"Verified"}}}}'
admin kubectl hopsack rollout status --timeout 60s
`, end: `
switch nft delete table bridge cloud
` + back},
	"deleted": {begin: `
admin kubectl delete networkconfig default --wait=false
`, end: `
admin kubectl annotate networkconfig default net.hopsack.dev/teardown=confirmed
admin kubectl wait --for=delete networkconfig/default --timeout=90s
admin kubectl apply -f config/samples/networkconfig.yaml
admin kubectl hopsack rollout status --timeout 90s
`},
	// A controller looks at the policy when it begins to lead.
	"policy-missing": {begin: `
admin kubectl delete validatingadmissionpolicybinding hopsack-nodenetworks
admin kubectl --namespace hopsack-system delete pod -l app.kubernetes.io/component=controller
`, end: `
admin kubectl apply -f config/admission/nodenetworks_policy_binding.yaml
`},
	"flannel": {begin: `
admin kubectl create namespace kube-flannel
admin kubectl --namespace kube-flannel create configmap kube-flannel-cfg --from-literal=net-conf.json='{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}'
admin kubectl --namespace kube-flannel get configmap kube-flannel-cfg -o yaml >kube-flannel.yml
`, end: `
admin kubectl delete namespace kube-flannel
admin kubectl apply --dry-run=server -f networkconfig.yaml
`},
	"flannel-leftovers": {begin: `
n2 ip link add flannel.1 type vxlan id 77 dstport 7777 dev eth0
n2 iptables -t nat -A POSTROUTING -m comment --comment "flanneld masq" -j RETURN
`, end: `
n2 ! iptables-save | grep flanneld
n2 ! ip link show flannel.1
`},
}

// blocked has n3 drop packets.
func blocked(match string) string {
	return "\nn3 nft 'add table inet wall; add chain inet wall in { type filter hook input priority 0; }; add rule inet wall in " + match + " drop'\n"
}

const unblocked = "\nn3 nft delete table inet wall\n"

// situate runs the commands of a situation.
func (u *user) situate(ctx context.Context, commands string) error {
	for line := range strings.Lines(commands) {
		place, command, _ := strings.Cut(strings.TrimSpace(line), " ")
		if command == "" {
			continue
		}
		if place == "admin" {
			place = ""
		}
		if out, err := u.exec(ctx, place, command); err != nil {
			return fmt.Errorf("%s: %w\n%s", command, err, out)
		}
	}
	return nil
}
