#!/usr/bin/env bash
# The main job, shown: a pod network from two objects on three nodes, then changes of the network under traffic.
# Everything happens in network namespaces that are gone at the end. The last line is JSON.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

lab=bin/lab
log=$(mktemp)
cleanup() {
	local status=$?
	[ $status -eq 0 ] || { printf '\nThe demo failed; the last output was:\n' >&2; tail -n 20 "$log" >&2; }
	$lab down >/dev/null 2>&1 || true
	rm -f "$log"
	exit $status
}
trap cleanup EXIT
trap 'exit 130' INT TERM

step() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@" 2>&1 | tee "$log" | sed 's/^/  /'; }
quiet() { "$@" >"$log" 2>&1; }
kubectl() { $lab kubectl "$@"; }
# capture N FILTER: the first N packets that node 1 sends or receives on its underlay.
capture() { $lab exec n1 -- timeout 10 tcpdump -nn -q -l -i eth0 -c "$1" "$2" 2>/dev/null; }

quiet $lab down
step "A cluster of three nodes, n3 behind a router (real etcd, kube-apiserver, controller, agents)"
quiet $lab up --nodes 3 --routed 1
run $lab status

step "The whole installation of a network: one object"
sed 's/^/  /' config/samples/networkconfig.yaml
run kubectl apply -f config/samples/networkconfig.yaml
quiet kubectl wait --for=condition=Ready networkconfig/default --timeout=30s
run kubectl get networkconfig,subnetleases,nodenetworks

step "Three pods, plugged in by CNI ADD through the file the agent wrote"
for i in 1 2 3; do quiet $lab pod add "p$i" --node "n$i"; done
run $lab pod list
declare -A ip
while read -r name _ address _; do ip[$name]=$address; done < <($lab pod list | tail -n +2)
for from in p1 p2 p3; do
	for to in p1 p2 p3; do
		[ $from = $to ] && continue
		quiet $lab exec $from -- ping -c 1 -W 2 "${ip[$to]}"
		echo "  $from -> $to (${ip[$to]}) answers"
	done
done

step "What the agent of n1 made of it"
run $lab exec n1 -- ip route show proto 104
run $lab exec n1 -- bridge fdb show dev hs1-8472
run $lab exec n1 -- ip neigh show dev hs1-8472

step "Packets between nodes are VXLAN (UDP 8472)"
$lab exec p1 -- ping -q -c 20 -i 0.1 "${ip[p2]}" >/dev/null 2>&1 &
ping=$!
capture 2 'udp port 8472' | tee "$log" | sed 's/^/  /'
[ -s "$log" ]
wait $ping

step "Direct routing, applied while p1 and p2 exchange 1,000 packets a second each way and stream"
loss=$($lab loss p1 p2 --rate 1000 --tcp -- bash -c "
	$lab kubectl apply -f config/samples/networkconfig-direct.yaml
	$lab kubectl wait --for=condition=Progressing=False --for=condition=Ready networkconfig/default --timeout=30s
	sleep 1" 2>"$log")
run $lab exec n1 -- ip route show proto 104
echo "  n2 shares n1's segment: straight to its address. n3 is behind a router: still VXLAN."

step "Packets between n1 and n2 are plain now"
$lab exec p1 -- ping -q -c 20 -i 0.1 "${ip[p2]}" >/dev/null 2>&1 &
ping=$!
capture 2 "icmp and host ${ip[p2]}" | tee "$log" | sed 's/^/  /'
[ -s "$log" ]
wait $ping
for to in p2 p3; do quiet $lab exec p1 -- ping -c 1 -W 2 "${ip[$to]}"; echo "  p1 -> $to answers"; done

cost='"  sent \(.sent), lost \(.lost), connections broken \(.broken), longest gap \(.longestGapMs) ms (the probe itself was up to \(.jitterMs) ms late)"'
step "What the change cost"
jq -r "$cost" <<<"$loss"

step "What flannel calls impossible: another VNI and port, then another backend, then back, while p1 and p3 exchange packets"
changes=$($lab loss p1 p3 --rate 1000 --tcp -- bash -c "
	set -e
	for change in vni udp; do
		$lab kubectl apply -f config/samples/networkconfig-\$change.yaml
		$lab kubectl hopsack rollout status --timeout 60s
	done
	$lab kubectl apply -f config/samples/networkconfig.yaml
	$lab kubectl hopsack rollout status --timeout 60s" 2>"$log")
sed 's/^/  /' "$log"
run kubectl hopsack status
run kubectl hopsack rollout history
step "What the three changes cost"
jq -r "$cost" <<<"$changes"
loss=$(jq -s '{sent: (.[0].sent + .[1].sent), lost: (.[0].lost + .[1].lost), broken: (.[0].broken + .[1].broken),
	longestGapMs: ([.[].longestGapMs] | max)}' <<<"$loss$changes")
quiet $lab down
trap - EXIT
rm -f "$log"
jq -c '{demo: "ok", sent, lost, broken, longestGapMs}' <<<"$loss"
