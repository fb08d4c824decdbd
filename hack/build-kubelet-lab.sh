#!/usr/bin/env bash
# build-kubelet-lab.sh [--e2e] [DIR]: builds what a lab with kubelets runs (see test/lab) into DIR (default bin/kubelet):
# kubelet, kube-proxy, kube-controller-manager, kube-scheduler, containerd and runc, and in DIR/images the container images that
# are needed where there is no registry. With --e2e also the tests of Kubernetes itself, which take longer than all the rest.
#
# The modules below test/lab/kubelet/build pin the versions; that of Kubernetes has those of the control plane (a test says so), so
# that what one compiled serves the other. What was built lies in a cache outside the repository, under a name that holds the hash
# of everything it was built from, and DIR holds links to it: nothing is built twice, by whatever checkout, and nothing half-built
# ever has a name that somebody looks for.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
modules=$root/test/lab/kubelet/build
cache=${HOPSACK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hopsack}/kubelet-lab
e2e=
if [[ ${1-} == --e2e ]]; then
  e2e=1
  shift
fi
out=${1:-$root/bin/kubelet}
mkdir -p "$out/images" "$cache"
out=$(cd "$out" && pwd)

die() { printf 'build-kubelet-lab: %s\n' "$*" >&2; exit 1; }
say() { printf 'build-kubelet-lab: %s\n' "$*"; }
hash() { sha256sum | cut -c 1-16; }

# Two makes at once must not compile Kubernetes twice.
exec 9>"$cache/.lock"
if ! flock -n 9; then
  say 'waiting for another build'
  flock 9
fi

# What a build that was killed has left, and what no checkout has asked for in a month.
rm -rf "$cache"/.tmp.*
find "$cache" -mindepth 1 -maxdepth 1 -not -name '.*' -mtime +30 -exec rm -rf {} +

goversion=$(go version)

# module_hash NAME: what decides the content of everything built from a module.
module_hash() { { cat "$modules/$1/go.mod" "$modules/$1/go.sum"; echo "$goversion"; } | hash; }

# keep NAME HASH COMMAND...: runs COMMAND with a temporary path as its last argument unless the cache has the result, and links
# it into DIR. Sets made to the path.
keep() {
  local name=$1 key=$2 tmp
  shift 2
  made=$cache/${name##*/}-$key
  if [[ ! -e $made ]]; then
    say "building $name"
    tmp=$cache/.tmp.$$.${name##*/}
    "$@" "$tmp"
    mv "$tmp" "$made"
  fi
  touch -c "$made"
  if [[ $(readlink "$out/$name" 2>/dev/null) != "$made" ]]; then
    ln -sfn "$made" "$out/.link.$$"
    mv -fT "$out/.link.$$" "$out/$name"
  fi
}

# go_build MODULE PACKAGE TAGS LDFLAGS FILE
go_build() { (cd "$modules/$1" && nice go build -mod=readonly -buildvcs=false -tags "$3" -ldflags "$4" -o "$5" "$2"); }

# program NAME MODULE PACKAGE [TAGS] [LDFLAGS]
program() {
  local name=$1 module=$2 pkg=$3 tags=${4-} ldflags=${5--s -w}
  keep "$name" "$({ module_hash "$module"; echo "$pkg $tags $ldflags"; } | hash)" go_build "$module" "$pkg" "$tags" "$ldflags"
}

# packages NAME PACKAGE...: unpacks Debian packages without installing them. Sets made to the directory.
packages() {
  local name=$1
  shift
  command -v apt-get >/dev/null || die "needs the Debian packages $*, unpacked, and there is no apt to get them with"
  [[ -n $(find /var/lib/apt/lists -name '*_Packages*' -print -quit 2>/dev/null) ]] || as_root apt-get -qq update
  local list
  list=$(LC_ALL=C apt-cache policy "$@" | awk '/^[^ ]/ {p = $1} /Candidate:/ {print p $2}' | sort)
  keep "$name" "$(hash <<<"$list")" unpack "$@"
}

unpack() { # PACKAGE... DIR
  local dir=${*: -1}
  mkdir -p "$dir/debs"
  # apt drops its rights for what it fetches.
  chmod 755 "$dir" "$dir/debs"
  (cd "$dir/debs" && apt-get -qq -o APT::Sandbox::User=root download "${@:1:$#-1}" >/dev/null)
  local deb
  for deb in "$dir"/debs/*.deb; do dpkg-deb -x "$deb" "$dir"; done
  rm -r "$dir/debs"
}

as_root() { if [[ $(id -u) == 0 ]]; then "$@"; else sudo "$@"; fi; }

# closure PACKAGE: the package and all it depends on.
closure() {
  LC_ALL=C apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "$@" |
    grep '^[a-z0-9]' | sort -u
}

export CGO_ENABLED=0

kubernetes=$(cd "$modules/kubernetes" && go list -m -f '{{.Version}}' k8s.io/kubernetes)
stamp="-s -w"
for pkg in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  # An unstamped build calls itself v0.0.0-master+$Format:%H$, which neither kubectl nor the tests can parse.
  IFS=. read -r major minor _ <<<"${kubernetes#v}"
  stamp+=" -X $pkg.gitVersion=$kubernetes -X $pkg.gitMajor=$major -X $pkg.gitMinor=$minor"
  stamp+=" -X $pkg.gitCommit=$(printf '0%.0s' {1..40}) -X $pkg.gitTreeState=clean -X $pkg.buildDate=1970-01-01T00:00:00Z"
done
for name in kubelet kube-proxy kube-controller-manager kube-scheduler; do
  program "$name" kubernetes "k8s.io/kubernetes/cmd/$name" '' "$stamp"
done

containerd=github.com/containerd/containerd/v2
version=$(cd "$modules/containerd" && go list -m -f '{{.Version}}' "$containerd")
for name in containerd containerd-shim-runc-v2 ctr; do
  program "$name" containerd "$containerd/cmd/$name" no_btrfs,no_devmapper,no_zfs,no_tracing "-s -w -X $containerd/version.Version=${version#v}"
done

# runc filters system calls with libseccomp, which is linked in: the Go build cache does not see a library, so its version is
# part of the name.
build_runc() { # LDFLAGS FILE
  local lib
  lib=$(dirname "$(find "$seccomp/usr/lib" -name libseccomp.a)")
  CGO_ENABLED=1 CGO_CFLAGS="-I$seccomp/usr/include" CGO_LDFLAGS="$lib/libseccomp.a" PKG_CONFIG=true \
    go_build runc github.com/opencontainers/runc seccomp "$1" "$2"
}
command -v gcc >/dev/null || die 'gcc is missing: runc is partly written in C (hack/deps.sh g++:g++ installs it)'
packages libseccomp libseccomp-dev
seccomp=$made
version=$(cd "$modules/runc" && go list -m -f '{{.Version}}' github.com/opencontainers/runc)
keep runc "$({ module_hash runc; echo "$seccomp"; } | hash)" build_runc "-s -w -X main.version=${version#v}"

# The programs of images are no programs of the lab: they stay in a directory of their own.
mkdir -p "$out/contents"
contents=$out/contents
program contents/coredns coredns github.com/coredns/coredns
program contents/agnhost kubernetes k8s.io/kubernetes/test/images/agnhost '' "$stamp"
build_pause() { (cd "$root" && nice go build -trimpath -buildvcs=false -ldflags='-s -w' -o "$1" ./test/lab/kubelet/pause); }
keep contents/pause "$({ cat "$root"/test/lab/kubelet/pause/*.go; echo "$goversion"; } | hash)" build_pause
# shellcheck disable=SC2046
packages contents/userland $(closure busybox-static netcat-openbsd iperf bind9-dnsutils)
data=$(cd "$modules/kubernetes" && go list -m -f '{{.Dir}}' k8s.io/kubernetes)/test/images/agnhost

tool=$({ cat "$root"/hack/image/oci/*.go "$root"/test/lab/kubelet/images/*.go "$root"/test/lab/internal/kubeconf/*.go; echo "$goversion"; } | hash)
build_image() { # NAME FILE
  local dir=$2.d
  mkdir -p "$dir"
  (cd "$root" && nice go run ./test/lab/kubelet/images -bin "$contents" -root "$contents/userland" -data "$data" -out "$dir" "$1")
  mv "$dir/$1.tar" "$2"
  rmdir "$dir"
}
for name in pause coredns agnhost busybox; do
  keep "images/$name.tar" "$({ echo "$tool"; readlink "$contents/$name" "$contents/userland" || true; } | hash)" build_image "$name"
done

if [[ -n $e2e ]]; then
  build_e2e() { (cd "$modules/kubernetes" && nice go test -c -mod=readonly -vet=off -ldflags "$stamp" -o "$1" k8s.io/kubernetes/test/e2e); }
  keep e2e.test "$({ module_hash kubernetes; echo "$stamp"; } | hash)" build_e2e
  program ginkgo kubernetes github.com/onsi/ginkgo/v2/ginkgo
fi
