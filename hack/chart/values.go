package main

// value is a field of the manifests that users of the chart set.
type value struct {
	// name is its path in values.yaml, for example "agent.tolerations".
	name string
	// doc is what values.yaml says about it.
	doc string
	// in and at are where it is: the object, and the path in it, with the names of list members in the place of numbers. With
	// an empty in, the chart's own templates use the value, and fixed is its default.
	in, at string
	fixed  any
	// schema is what JSON schema says beyond the type of the default.
	schema map[string]any
}

const (
	deployment = "Deployment/hopsack-controller"
	daemonSet  = "DaemonSet/hopsack-agent"
	pod        = "spec/template/spec/"
)

// number is a schema of whole numbers that start at the given one.
func number(least int) map[string]any { return map[string]any{"type": "integer", "minimum": least} }

// path is a schema of absolute paths.
var path = map[string]any{"pattern": "^/"}

// values are all there are, in the order of values.yaml.
var values = []value{
	{name: "controller.image.repository", doc: "image without its tag", fixed: imageOf{deployment, "controller"}},
	{name: "controller.image.tag", doc: "empty: the chart's appVersion", fixed: ""},
	{name: "controller.image.digest", doc: "sha256:...; wins over the tag", fixed: "", schema: digest},
	{name: "controller.replicas", doc: "one works, the others wait to take over; each needs a node of its own", in: deployment, at: "spec/replicas", schema: number(1)},
	{name: "controller.args", doc: "flags of hopsack-controller, in full", in: deployment, at: pod + "containers/controller/args", schema: texts},
	{name: "controller.resources", doc: "", in: deployment, at: pod + "containers/controller/resources", schema: resources},
	{name: "controller.priorityClassName", doc: "", in: deployment, at: pod + "priorityClassName"},
	{name: "controller.nodeSelector", doc: "", in: deployment, at: pod + "nodeSelector", schema: labels},
	{name: "controller.tolerations", doc: "what nodes carry that have no network yet must be among them", in: deployment, at: pod + "tolerations", schema: tolerations},
	{name: "controller.affinity", doc: "two controllers on one node would want the same ports", in: deployment, at: pod + "affinity", schema: affinity},

	{name: "agent.image.repository", doc: "image without its tag", fixed: imageOf{daemonSet, "agent"}},
	{name: "agent.image.tag", doc: "empty: the chart's appVersion", fixed: ""},
	{name: "agent.image.digest", doc: "sha256:...; wins over the tag", fixed: "", schema: digest},
	{name: "agent.args", doc: "flags of hopsack-agent, in full; keep --proc-sys and --cni-bin-dir", in: daemonSet, at: pod + "containers/agent/args", schema: texts},
	{name: "agent.resources", doc: "", in: daemonSet, at: pod + "containers/agent/resources", schema: resources},
	{name: "agent.priorityClassName", doc: "", in: daemonSet, at: pod + "priorityClassName"},
	{name: "agent.nodeSelector", doc: "a node without an agent has no pod network", in: daemonSet, at: pod + "nodeSelector", schema: labels},
	{name: "agent.tolerations", doc: "", in: daemonSet, at: pod + "tolerations", schema: tolerations},
	{name: "agent.updateStrategy", doc: "traffic goes on while an agent is replaced", in: daemonSet, at: "spec/updateStrategy", schema: updateStrategy},

	{name: "cni.binDir", doc: "where the container runtime looks for plugins, for example /var/lib/rancher/k3s/data/cni", in: daemonSet, at: pod + "volumes/cni-bin/hostPath/path", schema: path},
	{name: "cni.confDir", doc: "where it looks for their configuration, for example /var/lib/rancher/k3s/agent/etc/cni/net.d", in: daemonSet, at: pod + "volumes/cni-conf/hostPath/path", schema: path},

	{name: "apiServer.host", doc: "where nodes reach the API server when its Service does not work yet, or without kube-proxy; empty: by the Service", fixed: ""},
	{name: "apiServer.port", doc: "", fixed: 6443, schema: map[string]any{"minimum": 1, "maximum": 65535}},

	{name: "imagePullSecrets", doc: "[{name: ...}]", fixed: []any{}, schema: names},
	{name: "namespace.create", doc: "make the namespace a part of the release, with the labels of pod security; not with --create-namespace", fixed: false},
	{name: "crds.create", doc: "CRDs are upgraded with the chart", fixed: true},
	{name: "crds.keep", doc: "uninstalling leaves them, and with them every NetworkConfig and lease", fixed: true},
	{name: "flowSchema.create", doc: "", fixed: true},
	{name: "serviceMonitor.enabled", doc: "for the Prometheus operator", fixed: false},
	{name: "serviceMonitor.labels", doc: "what the Prometheus object selects by", in: "ServiceMonitor/hopsack", at: "metadata/labels", schema: labels},
	{name: "dashboard.enabled", doc: "a ConfigMap for Grafana's sidecar", fixed: false},
	{name: "dashboard.labels", doc: "what the sidecar selects by", in: "ConfigMap/hopsack-dashboard", at: "metadata/labels", schema: labels},
}

// imageOf is the default of a repository: the one of a container's image. All containers of the pod get the image.
type imageOf struct{ object, container string }

var digest = map[string]any{"pattern": "^(sha256:[0-9a-f]{64})?$"}

// conditions are what decides whether an object is in a release; the others always are.
var conditions = map[string]string{
	"Namespace":                "namespace.create",
	"CustomResourceDefinition": "crds.create",
	"FlowSchema":               "flowSchema.create",
	"ServiceMonitor":           "serviceMonitor.enabled",
	"ConfigMap":                "dashboard.enabled",
}
