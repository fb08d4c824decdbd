#!/usr/bin/env bash
# twice.sh VERSION [FLAGS OF hack/image]: makes what `make image` has made in dist/ once more, from a copy of the sources in
# another folder and with an empty build cache, and fails when a single byte differs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

version=$1
shift
scratch=$(mktemp -d)
trap 'rm -rf "${scratch}"' EXIT
git ls-files --cached --others --exclude-standard -z |
  xargs -0 sh -c 'for file; do if [ -e "${file}" ]; then printf "%s\0" "${file}"; fi; done' _ |
  tar --null --files-from=- -cf - | tar -C "${scratch}" --one-top-level=sources -xf -
# The sums are compared, not the list of the first run: it may have made more.
(cd "${scratch}/sources" && GOCACHE=${scratch}/cache go run ./hack/image -version "${version}" "$@" -out "${scratch}/dist" >/dev/null)
(cd dist && sha256sum --quiet -c "${scratch}/dist/SHA256SUMS")
echo "the same, byte for byte: $(wc -l <"${scratch}/dist/SHA256SUMS") files"
