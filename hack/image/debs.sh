#!/usr/bin/env bash
# The Debian packages of the images: hack/image/debian.lock names them, with version and SHA-256, for every architecture.
#
#   debs.sh fetch DIR   puts each package of the lock into DIR as <sha256>.deb; asks the mirror only for what is not there yet
#   debs.sh lock        rewrites the lock with the newest version of each package it names
#
# apt does the fetching, and the checking of signatures, in a folder of its own: nothing of this machine's apt is read or
# changed. A mirror keeps the newest version only: when the lock is older than that, either lock again, or fetch the old ones
# from the archive of all versions: DEBIAN_MIRROR=http://snapshot.debian.org/archive DEBIAN_SNAPSHOT=20261120T000000Z.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
lock=$here/debian.lock
suite=trixie
mirror=${DEBIAN_MIRROR:-http://deb.debian.org}
snapshot=${DEBIAN_SNAPSHOT:+/$DEBIAN_SNAPSHOT}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[[ -r ${keyring} ]] || keyring=${keyring%.gpg}.pgp # its name in newer releases

die() { printf 'debs: %s\n' "$*" >&2; exit 1; }

# apt's own words and folders, private to this run.
prepare() {
  command -v apt-get >/dev/null || die 'apt-get is missing: images are made on Debian or Ubuntu, or with the Dockerfile'
  [[ -r ${keyring} ]] || die "${keyring} is missing: install debian-archive-keyring"
  root=$(mktemp -d)
  trap 'rm -rf "${root}"' EXIT
  mkdir -p "${root}"/{state/lists/partial,cache/archives/partial,etc/apt.conf.d,etc/preferences.d,download}
  : >"${root}/status"
  cat >"${root}/debian.sources" <<SOURCES
Types: deb
URIs: ${mirror}/debian${snapshot}
Suites: ${suite} ${suite}-updates
Components: main
Architectures: amd64 arm64
Signed-By: ${keyring}

Types: deb
URIs: ${mirror}/debian-security${snapshot}
Suites: ${suite}-security
Components: main
Architectures: amd64 arm64
Signed-By: ${keyring}
SOURCES
  cat >"${root}/apt.conf" <<CONF
Dir "${root}";
Dir::State "${root}/state";
Dir::State::status "${root}/status";
Dir::Cache "${root}/cache";
Dir::Etc "${root}/etc";
Dir::Etc::sourcelist "${root}/debian.sources";
Dir::Etc::sourceparts "-";
APT::Architecture "amd64";
APT::Architectures { "amd64"; "arm64"; };
APT::Sandbox::User "root";
APT::Get::List-Cleanup "false";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::Check-Valid-Until "$([[ -z ${snapshot} ]] && echo true || echo false)";
Acquire::Retries "3";
CONF
  export APT_CONFIG=${root}/apt.conf
  apt-get -qq update || die "the Debian mirror ${mirror} does not answer"
}

entries() { grep -v '^#' "${lock}"; }

fetch() {
  local dir=$1 arch package version sum prepared=
  mkdir -p "${dir}"
  while read -r arch package version sum; do
    [[ -f ${dir}/${sum}.deb ]] && continue
    if [[ -z ${prepared} ]]; then prepare; prepared=yes; fi
    rm -f "${root}"/download/*
    (cd "${root}/download" && apt-get -qq download "${package}$([[ ${arch} == all ]] || echo ":${arch}")=${version}") ||
      die "${package} ${version} is not on the mirror any more: run 'hack/image/debs.sh lock', or see the head of it for old versions"
    sha256sum --quiet -c <<<"${sum}  $(echo "${root}"/download/*.deb)" || die "${package} ${version} is not the package of debian.lock"
    # Renamed within the folder: what has the name is whole.
    cp "${root}"/download/*.deb "${dir}/.${sum}.$$" && mv "${dir}/.${sum}.$$" "${dir}/${sum}.deb"
  done < <(entries)
}

relock() {
  local arch package old
  prepare
  {
    grep '^#' "${lock}"
    while read -r arch package old _; do
      apt-cache show "${package}$([[ ${arch} == all ]] || echo ":${arch}")" | awk -v arch="${arch}" -v package="${package}" '
        $1 == "Version:" && !version { version = $2 }
        $1 == "SHA256:" && !sum { sum = $2 }
        END { if (!sum) exit 1; print arch, package, version, sum }' || die "${package} for ${arch} is not on the mirror"
    done < <(entries)
  } >"${root}/lock"
  cp "${root}/lock" "${lock}"
}

case ${1:-} in
  fetch) fetch "${2:?the folder to put packages into}" ;;
  lock) relock ;;
  *) die 'usage: debs.sh fetch DIR | lock' ;;
esac
