#!/usr/bin/env bash
# Everything that can be judged without running a test. Every check runs, so that one pass shows all there is to mend; the
# generated files are left regenerated.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tool() { go tool -modfile=hack/tools/go.mod "$@"; }

failed=()
check() { # NAME COMMAND...: runs it, shows its output and notes the name when it fails.
  local name=$1 out
  shift
  printf '%-16s ' "${name}"
  if out=$("$@" 2>&1); then
    echo ok
  else
    echo FAILED
    printf '%s\n' "${out}" | sed 's/^/    /'
    failed+=("${name}")
  fi
}

generated() {
  local before status=0
  before=$(mktemp -d)
  cp -r api config/crd/bases charts docs/reference.md "${before}" || return
  make -s generate || status=1
  diff -ru "${before}/api" api || status=1
  diff -ru "${before}/bases" config/crd/bases || status=1
  diff -ru "${before}/charts" charts || status=1
  diff -u "${before}/reference.md" docs/reference.md || status=1
  rm -rf "${before}"
  if ((status)); then echo 'generated files were not current: they are now, commit them (make generate)'; fi
  return "${status}"
}

format() {
  local out
  out=$(gofmt -l .) || return
  if [[ -n ${out} ]]; then printf 'run gofmt -w on:\n%s\n' "${out}"; return 1; fi
}

scripts() {
  local file status=0
  while read -r file; do bash -n "${file}" || status=1; done < <(git ls-files --cached --others --exclude-standard -- '*.sh' .ci/run)
  return "${status}"
}

manifests() {
  local dir status=0
  for dir in config/*/; do
    if [[ -f ${dir}kustomization.yaml ]]; then tool kustomize build "${dir}" >/dev/null || status=1; fi
  done
  return "${status}"
}

check 'generated files' generated
check 'format' format
check 'scripts' scripts
check 'code' go run ./hack/codecheck
check 'layering' tool depguard ./...
check 'vet' go vet ./...
check 'staticcheck' tool staticcheck ./...
check 'manifests' manifests
# Modules that only pin what is built are not asked: tidying them downloads the test dependencies of all of Kubernetes.
check 'go.mod' go mod tidy -diff

if ((${#failed[@]})); then
  echo "verify: ${#failed[@]} failed: ${failed[*]}" >&2
  exit 1
fi
