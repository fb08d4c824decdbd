// Package rollout is the list of what rollouts are tried with: the steps, the obstacles, the crashes and the partitions, each
// with the measurement of what it costs. The end-to-end tests run each of them a few times and ask for zero; the benchmark runs
// them many times and prints the figures.
//
// It owns what it does to the cluster while a scenario runs, and takes it back, also when the scenario fails: every scenario
// begins and ends with VXLAN on port 8472 between all nodes. It refuses to judge: losses are figures, and only what keeps a
// scenario from being what it says (a step without effect, a rollout that does not end, something left over) is an error.
//
// Invariant: a figure is of one measurement during which the thing itself happened, seen in kernel or API.
package rollout
