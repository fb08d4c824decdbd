package cli

import (
	"strings"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// managedBy names the GitOps tool that keeps the object as it is in git, or "". It goes by the marks that the tools leave on
// every object they apply, and by the names they write under.
func managedBy(cfg *v1alpha1.NetworkConfig) string {
	if id := cfg.Annotations["argocd.argoproj.io/tracking-id"]; id != "" {
		app, _, _ := strings.Cut(id, ":")
		return "Argo CD (application " + app + ")"
	}
	if app := cfg.Labels["argocd.argoproj.io/instance"]; app != "" {
		return "Argo CD (application " + app + ")"
	}
	for _, flux := range []struct{ kind, prefix string }{
		{"Kustomization", "kustomize.toolkit.fluxcd.io/"}, {"HelmRelease", "helm.toolkit.fluxcd.io/"},
	} {
		if name := cfg.Labels[flux.prefix+"name"]; name != "" {
			return "Flux (" + flux.kind + " " + cfg.Labels[flux.prefix+"namespace"] + "/" + name + ")"
		}
	}
	writers := map[string]string{
		"argocd-controller": "Argo CD", "argocd-application-controller": "Argo CD", "kustomize-controller": "Flux", "helm-controller": "Flux",
	}
	for _, f := range cfg.ManagedFields {
		if tool := writers[f.Manager]; tool != "" && f.Subresource == "" {
			return tool
		}
	}
	return ""
}
