#!/usr/bin/env bash
# Installs what this machine lacks to build, test and demonstrate hopsack: with apt where there is apt, else it lists what is
# missing and fails. Quiet and quick when nothing is missing. Go itself is never installed, only asked for. Arguments are
# further needs, in the form of the list below.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# command:Debian package that brings it.
needs=(
  nft:nftables iptables:iptables iptables-legacy:iptables ip:iproute2 bridge:iproute2 tc:iproute2 tcpdump:tcpdump
  conntrack:conntrack jq:jq ps:procps sysctl:procps unshare:util-linux nsenter:util-linux modprobe:kmod ping:iputils-ping curl:curl
  # What only the caller's target takes.
  "$@"
)

die() { printf 'deps: %s\n' "$*" >&2; exit 1; }

check_go() {
  local want have
  want=$(awk '$1 == "go" {print $2}' go.mod)
  command -v go >/dev/null || die "Go ${want} or newer is missing: install it from https://go.dev/dl and put it in PATH"
  # An older go command fetches the version go.mod names by itself, unless it is told not to or is too old to know how.
  have=$(go env GOVERSION 2>/dev/null) || have=$(GOTOOLCHAIN=local GOFLAGS=-mod=mod go version | awk '{print $3}')
  if [[ $(printf '%s\n%s\n' "go${want}" "${have}" | sort -V | head -n 1) != "go${want}" ]]; then
    die "Go ${want} or newer is needed, this machine has ${have#go}: install it from https://go.dev/dl"
  fi
}

missing_packages() {
  local need
  for need in "${needs[@]}"; do
    # Root's tools are not always in the PATH of other users.
    PATH="${PATH}:/usr/sbin:/sbin" command -v "${need%%:*}" >/dev/null || echo "${need#*:}"
  done | sort -u
}

install() {
  local -a as_root=()
  command -v apt-get >/dev/null || die "missing, and there is no apt to install it with: $*"
  if [[ $(id -u) != 0 ]]; then
    command -v sudo >/dev/null || die "missing: $*. Installing takes root and there is no sudo: run this as root"
    as_root=(sudo)
  fi
  echo "deps: installing $*"
  local log
  log=$(mktemp)
  # --no-install-recommends: nothing starts a service or changes the host's firewall.
  if ! { "${as_root[@]}" apt-get -qq update && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq install -y --no-install-recommends "$@"; } >"${log}" 2>&1 </dev/null; then
    cat "${log}" >&2
    rm -f "${log}"
    die "apt could not install: $*"
  fi
  rm -f "${log}"
}

# The kernel's part cannot be installed: say at once what is absent, instead of failing in the middle of a test.
check_kernel() {
  local -a as_root=()
  if [[ $(id -u) != 0 ]]; then
    command -v sudo >/dev/null || die "network namespaces take root and there is no sudo: run this as root"
    as_root=(sudo)
  fi
  local lacks
  lacks=$("${as_root[@]}" unshare --net bash -c '
    PATH=$PATH:/usr/sbin:/sbin
    ip link add hsv0 type veth peer name hsv1 || echo veth
    ip link add hsb0 type bridge || echo bridge
    ip link add hsx0 type vxlan id 1 dstport 8472 || echo vxlan
    nft add table inet hopsack || echo nf_tables
    iptables -L -n >/dev/null || echo iptables-nft' 2>/dev/null) || die "cannot make a network namespace on this machine"
  [[ -z ${lacks} ]] || die "this kernel ($(uname -r)) lacks: $(tr '\n' ' ' <<<"${lacks}")"
}

check_go
mapfile -t missing < <(missing_packages)
if ((${#missing[@]})); then
  install "${missing[@]}"
  mapfile -t missing < <(missing_packages)
  ((${#missing[@]} == 0)) || die "still missing after installing: ${missing[*]}"
fi
check_kernel
