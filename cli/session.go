package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// session is what all commands share.
type session struct {
	genericiooptions.IOStreams
	flags *genericclioptions.ConfigFlags
}

// fieldOwner names this program in managedFields. It must not begin with "kubectl": Flux takes over, and so takes back, what
// is written under such a name, and a pause would last until its next pass.
const fieldOwner = "hopsack-cli"

// connect returns a client with the user's kubeconfig and flags.
func (s *session) connect() (client.WithWatch, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	config, err := s.flags.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	// What the API server warns of is the user's to read; clusters of a thousand nodes take a few large answers, not many.
	config.WarningHandler = rest.NewWarningWriter(s.ErrOut, rest.WarningWriterOptions{Deduplicate: true})
	config.QPS, config.Burst = 50, 100
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	return c, nil
}

// networkConfig reads the NetworkConfig; the error says what to do where there is none.
func networkConfig(ctx context.Context, c client.Reader) (*v1alpha1.NetworkConfig, error) {
	cfg := &v1alpha1.NetworkConfig{}
	err := c.Get(ctx, client.ObjectKey{Name: v1alpha1.NetworkConfigName}, cfg)
	return cfg, explain(err, "read networkconfig "+v1alpha1.NetworkConfigName)
}

// read connects and reads the NetworkConfig.
func (s *session) read(ctx context.Context) (client.WithWatch, *v1alpha1.NetworkConfig, error) {
	c, err := s.connect()
	if err != nil {
		return nil, nil, err
	}
	cfg, err := networkConfig(ctx, c)
	return c, cfg, err
}

// explain says what was tried, and that hopsack is not installed where that is why it failed.
func explain(err error, tried string) error {
	switch {
	case err == nil:
		return nil
	case meta.IsNoMatchError(err):
		return fmt.Errorf("%s: hopsack is not installed in this cluster: %w", tried, err)
	}
	return fmt.Errorf("%s: %w", tried, err)
}

// list reads all objects of one kind.
func list[L client.ObjectList](ctx context.Context, c client.Reader, into L, what string, opts ...client.ListOption) (L, error) {
	return into, explain(c.List(ctx, into, opts...), "list "+what)
}

// liveFor is how long a node counts as live after it was last Ready, as the controller has it.
const liveFor = 40 * time.Second

// live says whether a rollout waits for the node: it is Ready, was until a moment ago, or has never been.
func live(node *corev1.Node, now time.Time) bool {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue || now.Sub(c.LastTransitionTime.Time) <= liveFor
		}
	}
	return true
}

// readyOf is the node's own word of how it is; Unknown where it has said nothing.
func readyOf(nn *v1alpha1.NodeNetwork) (status, reason, message string) {
	if c := meta.FindStatusCondition(nn.Status.Conditions, v1alpha1.ConditionReady); c != nil {
		return string(c.Status), c.Reason, c.Message
	}
	return "Unknown", "", ""
}

// asStatus says whether the API server answered with a Status.
func asStatus(err error, into *apierrors.APIStatus) bool { return errors.As(err, into) }

// isPermanent says whether an error that is no answer of the API server will stay: a missing CRD, a kubeconfig that is wrong.
func isPermanent(err error) bool {
	var network net.Error
	return !errors.As(err, &network) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF)
}
