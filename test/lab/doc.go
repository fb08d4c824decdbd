// Package lab runs a Kubernetes cluster in network namespaces on one machine: a real etcd and kube-apiserver, hopsack's
// controller, and one agent per node, each a process of its own with its own credentials. Nodes and pods are namespaces;
// there is no kubelet and no container. With Options.Kubelet it is the other way round: nodes have containerd, a kubelet and
// kube-proxy, pods are containers, and the lab starts nothing of hopsack.
//
// It owns the network namespaces whose names begin with "hs-", the directory /run/hopsack-lab (what must not outlive a
// boot: who the lab belongs to, which processes run), the control groups hs-NODE below the caller's own (with kubelets) and one
// state directory (everything else). It refuses to touch the machine's own network namespace and its settings: no device,
// route, rule or sysctl there. It refuses to run two labs at once, of whatever kind, because the names of namespaces are the
// machine's.
//
// Invariant: whatever Up, AddNode and AddPod have made, Down finds without their help, also after a crash at any point.
// Every lab process runs in the PID namespace of a machine (package machine), so ending the machines ends everything.
//
// A Cluster is a handle without memory: it reads the state directory on every call, so that several processes may use one
// lab. Calls that change machines take a lock; adding and deleting different pods may happen at the same time.
package lab
