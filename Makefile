# The way in for people and for CI: `make help` lists what there is. Everything is incremental; what a machine lacks is
# installed by hack/deps.sh, what is built lies in bin/.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# One build cache for programs and tests, and static binaries that run in any image: no cgo anywhere.
export CGO_ENABLED := 0

GO_BUILD = go build -trimpath -buildvcs=false -ldflags='-s -w -X github.com/hopsack-net/hopsack/internal/version.Version=$(VERSION)'
GO_TOOL := go tool -modfile=hack/tools/go.mod
CNI_PLUGINS := $(addprefix github.com/containernetworking/plugins/plugins/,main/bridge main/loopback ipam/host-local meta/portmap)
# The release, from the one place that has it: the tag of the images in the manifests.
VERSION ?= $(shell awk '$$1 == "newTag:" {print $$2; exit}' config/default/kustomization.yaml)
BACKEND ?= vxlan
KUBE_PROXY ?= nftables
# Namespaces, devices and nftables take root; building does not.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo -E env PATH=$(PATH))

.PHONY: help
help: ## List the targets.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## Install what this machine lacks, or list what is missing.
	@hack/deps.sh

.PHONY: generate
generate: ## Regenerate deepcopy functions, CRDs and docs/reference.md from api/, and the Helm chart from config/.
	$(GO_TOOL) controller-gen object paths=./api/...
	$(GO_TOOL) controller-gen crd paths=./api/... output:crd:dir=config/crd/bases
	go run ./hack/chart
	go run ./hack/reference

.PHONY: manifests
manifests: ## Write dist/install.yaml, everything in one file for kubectl apply, and the chart.
	go run ./hack/chart -install dist/install.yaml

.PHONY: verify
verify: ## Check that generated files are current, format, vet, lint, layering, size limits, manifests, go.mod.
	@hack/verify.sh

.PHONY: build
build: ## Build the programs and the CNI reference plugins into bin/.
	@mkdir -p bin/cni
	$(GO_BUILD) -o bin/ $(addprefix ./,$(wildcard cmd/*)) ./test/lab/cmd/lab
	@install -m 755 cmd/kubectl-hopsack/kubectl_complete-hopsack bin/
	$(GO_BUILD) -o bin/cni/ $(CNI_PLUGINS)

.PHONY: lab
lab: build ## Build the lab: our programs and a real etcd, kube-apiserver and kubectl (minutes the first time).
	@hack/build-controlplane.sh

.PHONY: kubelet-lab
kubelet-lab: deps lab ## Build what a lab with kubelets needs, outside the repository (ten minutes the first time).
	@hack/deps.sh g++:g++ dpkg-deb:dpkg
	@hack/build-kubelet-lab.sh

.PHONY: kubelet-images
kubelet-images: ## Make the images and manifests that a lab with kubelets installs, of this version and of one after it.
	@for next in '' next; do go run ./hack/image -version $(VERSION)$${next:+-next} -only agent,controller -platforms linux/$$(go env GOARCH) \
	  -compress=false -out bin/images/$$next; done

.PHONY: test
test: kubelet-lab kubelet-images manifests ## Run every test: unit, kernel, API, lab, end to end, and on a cluster with kubelets.
	@go run ./hack/runtests -exec '$(SUDO)'

.PHONY: kubelet-test
kubelet-test: kubelet-lab kubelet-images manifests ## Run the tests on clusters with kubelets only.
	@go run ./hack/runtests -exec '$(SUDO)' -stage kubelet

.PHONY: conformance
conformance: kubelet-lab ## Run Kubernetes' conformance tests of the network on what ships (BACKEND=vxlan|direct|udp KUBE_PROXY=nftables|iptables).
	@hack/build-kubelet-lab.sh --e2e
	@go run ./hack/image -version $(VERSION) -only agent,controller -platforms linux/$(shell go env GOARCH) -compress=false -out bin/images
	$(GO_BUILD) -o bin/ ./test/conformance
	@$(SUDO) bin/conformance -backend $(BACKEND) -kube-proxy $(KUBE_PROXY) $(CONFORMANCE)

.PHONY: mutants
mutants: deps lab ## Break one promise at a time and show which test notices (MUTANTS="-only route" picks some).
	@HOPSACK_CONTROLPLANE_BIN=$(CURDIR)/bin/controlplane go run ./hack/mutants -exec '$(SUDO)' $(MUTANTS)

.PHONY: demo
demo: deps lab ## Show the main job in a cluster of three nodes on this machine (a lab that is up goes down).
	@$(SUDO) hack/demo.sh

.PHONY: bench
bench: deps lab ## Measure hopsack against references, one line of JSON per case (BENCH="-list" names them).
	$(GO_BUILD) -o bin/ ./test/bench
	@$(SUDO) bin/bench $(BENCH)

.PHONY: bench-rollout
bench-rollout: deps lab ## Change backends under traffic, with crashes and partitions, one line of JSON (ROLLOUT="-rounds 1 -kills 2 -pauses 1").
	$(GO_BUILD) -o bin/ ./test/bench
	@$(SUDO) bin/bench $(ROLLOUT) rollout

.PHONY: bench-kubelet
bench-kubelet: kubelet-lab kubelet-images ## Measure hopsack on clusters with kubelets, one line of JSON per case (KUBELET="-idle 5m", CASES=kubelet-load).
	$(GO_BUILD) -o bin/ ./test/bench
	@$(SUDO) bin/bench $(KUBELET) $(or $(CASES),kubelet-start kubelet-load kubelet-operate kubelet-idle)

.PHONY: image
image: ## Make OCI images, kubectl-hopsack and node archives in dist/, without Docker (IMAGE="-only agent -platforms linux/amd64").
	@go run ./hack/image -version $(VERSION) $(IMAGE)

.PHONY: image-twice
image-twice: image ## Make them again from a copy of the sources with an empty build cache, and compare.
	@hack/image/twice.sh $(VERSION) $(IMAGE)

.PHONY: clean
clean: ## Take the lab down and remove everything built.
	@if [ -x bin/lab -a -d .lab ]; then $(SUDO) bin/lab down; fi
	$(SUDO) rm -rf bin dist .lab
