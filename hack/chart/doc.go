// Command chart makes the Helm chart and install.yaml from what kustomize renders of config/.
//
// It owns which fields of the manifests are values of the chart, what they are called and what is said about them. It refuses
// a second source: every default in values.yaml is the value found in the manifests, every template is a manifest with
// expressions in the place of these values, and a field that is no longer there is an error.
//
// Invariant: with the defaults, the chart renders the objects of config/default and nothing else; a test compares them.
package main
