// Package v1alpha1 holds the wire types of hopsack: NetworkConfig (what the user wants), SubnetLease (which node has which
// subnet, and how peers reach it) and NodeNetwork (the conversation between one node's agent and the controller).
//
// It owns names, field rules, condition types and reasons. It holds no logic: values are parsed in internal/network.
// It imports apimachinery only, so that other programs can use the types at no cost.
//
// Invariant: a field that is present works. What a schema can decide is decided here (OpenAPI bounds and CEL), and no field
// has a schema default, so that what is in git and what is in the cluster are equal.
//
// +kubebuilder:object:generate=true
// +groupName=net.hopsack.dev
package v1alpha1
