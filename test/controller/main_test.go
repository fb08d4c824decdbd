package controller

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// admin may do everything; set by TestMain.
var admin *rest.Config

var scheme = runtime.NewScheme()

var verbosity = flag.Int("log", -1, "print the controller's log at this verbosity; -1: not at all")

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	logging := textlogger.NewConfig(textlogger.Verbosity(max(*verbosity, 0)))
	log := klog.LoggerWithName(textlogger.NewLogger(logging), "test")
	if *verbosity < 0 {
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer null.Close()
		log = textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(null)))
	}
	ctrl.SetLogger(log)
	klog.SetLogger(log)
	stop, err := startControlPlane()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer stop()
	return m.Run()
}

// startControlPlane runs etcd and kube-apiserver on loopback and installs what config/ ships.
func startControlPlane() (stop func(), err error) {
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		return nil, err
	}
	programs := os.Getenv("HOPSACK_CONTROLPLANE_BIN")
	if programs == "" {
		programs = filepath.Join(root, "bin", "controlplane")
	}
	for _, p := range []string{"etcd", "kube-apiserver"} {
		if _, err := os.Stat(filepath.Join(programs, p)); err != nil {
			return nil, fmt.Errorf("%s is not in %s: build it with `make lab`, or name its folder in HOPSACK_CONTROLPLANE_BIN", p, programs)
		}
	}
	env := &envtest.Environment{
		BinaryAssetsDirectory: programs,
		CRDDirectoryPaths:     []string{filepath.Join(root, "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
	}
	env.ControlPlane.GetAPIServer().Configure().
		Append("max-requests-inflight", "2000").Append("max-mutating-requests-inflight", "1000").
		Append("service-cluster-ip-range", "10.96.0.0/16")
	if admin, err = env.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start control plane: %w", err), env.Stop())
	}
	stop = func() {
		if err := env.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	admin.QPS, admin.Burst = 5000, 5000
	if err := install(root, "config/rbac", "config/admission"); err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}

// install creates what the manifests of some folders hold.
func install(root string, folders ...string) error {
	c, err := client.New(admin, client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	kinds := map[string]func() client.Object{
		"Namespace": func() client.Object { return &corev1.Namespace{} }, "ServiceAccount": func() client.Object { return &corev1.ServiceAccount{} },
		"Role": func() client.Object { return &rbacv1.Role{} }, "RoleBinding": func() client.Object { return &rbacv1.RoleBinding{} },
		"ClusterRole": func() client.Object { return &rbacv1.ClusterRole{} }, "ClusterRoleBinding": func() client.Object { return &rbacv1.ClusterRoleBinding{} },
		"ValidatingAdmissionPolicy":        func() client.Object { return &admissionv1.ValidatingAdmissionPolicy{} },
		"ValidatingAdmissionPolicyBinding": func() client.Object { return &admissionv1.ValidatingAdmissionPolicyBinding{} },
	}
	var namespaced []client.Object
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(root, folder, "*.yaml"))
		if err != nil {
			return err
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			var head struct{ Kind string }
			if err := yaml.Unmarshal(b, &head); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			if kinds[head.Kind] == nil {
				continue // a kustomization
			}
			obj := kinds[head.Kind]()
			if err := yaml.UnmarshalStrict(b, obj); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			if obj.GetNamespace() != "" {
				namespaced = append(namespaced, obj)
				continue
			}
			if err := c.Create(context.Background(), obj); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	for _, obj := range namespaced {
		if err := c.Create(context.Background(), obj); err != nil {
			return fmt.Errorf("create %s: %w", obj.GetName(), err)
		}
	}
	return nil
}
