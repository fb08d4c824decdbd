#!/usr/bin/env bash
# build-controlplane.sh [DIR]: builds etcd, kube-apiserver and kubectl from their Go modules into DIR (default bin/controlplane).
#
# The module test/lab/controlplane pins the versions. A binary is rebuilt only when that module's go.mod or go.sum, the Go
# version or the stamp below changed; each is written beside its final place and renamed, so a half-built binary never
# carries the final name. The first build takes some minutes (a large part of Kubernetes is compiled), later ones are cached.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
module=$root/test/lab/controlplane
out=${1:-$root/bin/controlplane}
mkdir -p "$out"
out=$(cd "$out" && pwd)

# Two makes at once must not compile Kubernetes twice.
exec 9>"$out/.lock"
if ! flock -n 9; then
  echo "build-controlplane: waiting for another build"
  flock 9
fi

# What a build that was killed has left.
rm -f "$out"/.*.tmp.*

cd "$module"
version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
rest=${version#v}
major=${rest%%.*}
rest=${rest#*.}
minor=${rest%%.*}

# An unstamped build calls itself v0.0.0-master+$Format:%H$, which neither kubectl nor the API server can parse.
ldflags="-s -w"
for pkg in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  ldflags+=" -X $pkg.gitVersion=$version -X $pkg.gitMajor=$major -X $pkg.gitMinor=$minor"
  ldflags+=" -X $pkg.gitCommit=$(printf '0%.0s' {1..40}) -X $pkg.gitTreeState=clean -X $pkg.buildDate=1970-01-01T00:00:00Z"
done

want=$({ cat go.mod go.sum; go version; echo "$ldflags"; } | sha256sum | cut -d' ' -f1)

build() { # NAME PACKAGE
  local name=$1 pkg=$2 tmp
  if [[ -x $out/$name && -f $out/.$name.stamp && $(<"$out/.$name.stamp") == "$want" ]]; then
    return
  fi
  echo "build-controlplane: building $name ($pkg)"
  tmp=$out/.$name.tmp.$$
  trap 'rm -f "$tmp"' EXIT
  CGO_ENABLED=0 nice go build -mod=readonly -buildvcs=false -ldflags "$ldflags" -o "$tmp" "$pkg"
  rm -f "$out/.$name.stamp"
  mv -f "$tmp" "$out/$name"
  echo "$want" >"$out/.$name.stamp"
  trap - EXIT
}

build etcd go.etcd.io/etcd/server/v3
build kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver
build kubectl k8s.io/kubernetes/cmd/kubectl
