package kubeconf

import "net/netip"

// ControlPlane says where the processes beside the API server find what they need.
type ControlPlane struct {
	// PKI is the directory with ca.crt, ca.key and sa.key.
	PKI string
	// Kubeconfig is the process's own.
	Kubeconfig string
	// ClusterCIDR is the range of the pods.
	ClusterCIDR netip.Prefix
	// ServiceCIDR is the range of the Services.
	ServiceCIDR string
	// AllocateNodeCIDRs has kube-controller-manager give every node its podCIDR, as kubeadm does when told a pod range.
	AllocateNodeCIDRs bool
}

// ControllerManagerArgs are kube-controller-manager's arguments.
func ControllerManagerArgs(c ControlPlane) []string {
	args := []string{
		"--kubeconfig=" + c.Kubeconfig,
		"--bind-address=127.0.0.1",
		"--leader-elect=false",
		"--service-account-private-key-file=" + c.PKI + "/sa.key",
		"--root-ca-file=" + c.PKI + "/ca.crt",
		"--cluster-signing-cert-file=" + c.PKI + "/ca.crt",
		"--cluster-signing-key-file=" + c.PKI + "/ca.key",
		"--use-service-account-credentials=true",
	}
	if !c.AllocateNodeCIDRs {
		return append(args, "--allocate-node-cidrs=false")
	}
	return append(args, "--allocate-node-cidrs=true", "--cluster-cidr="+c.ClusterCIDR.String(), "--service-cluster-ip-range="+c.ServiceCIDR)
}

// SchedulerArgs are kube-scheduler's arguments.
func SchedulerArgs(c ControlPlane) []string {
	return []string{"--kubeconfig=" + c.Kubeconfig, "--bind-address=127.0.0.1", "--leader-elect=false"}
}

// APIServerArgs are what an API server needs beside the rest to speak to kubelets; pki holds kubelet-client.crt and .key.
func APIServerArgs(pki string) []string {
	return []string{
		"--kubelet-client-certificate=" + pki + "/kubelet-client.crt",
		"--kubelet-client-key=" + pki + "/kubelet-client.key",
		"--kubelet-preferred-address-types=InternalIP",
	}
}
