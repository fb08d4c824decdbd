package dataplane

import (
	"errors"
	"maps"
	"slices"
)

// Delta is what turns one map into another.
type Delta[K comparable, V any] struct {
	// Set are the entries that are missing or differ, in order.
	Set []Entry[K, V]
	// Delete are the keys that are too many, in order.
	Delete []K
}

// Entry is one entry of a map. Was says that the key is there already, with another value.
type Entry[K comparable, V any] struct {
	Key   K
	Value V
	Was   bool
}

// Diff returns what turns actual into want, both lists sorted by order.
func Diff[K, V comparable](want, actual map[K]V, order func(a, b K) int) Delta[K, V] {
	var d Delta[K, V]
	for k, v := range want {
		if a, ok := actual[k]; !ok || a != v {
			d.Set = append(d.Set, Entry[K, V]{k, v, ok})
		}
	}
	for k := range maps.Keys(actual) {
		if _, ok := want[k]; !ok {
			d.Delete = append(d.Delete, k)
		}
	}
	slices.SortFunc(d.Set, func(a, b Entry[K, V]) int { return order(a.Key, b.Key) })
	slices.SortFunc(d.Delete, order)
	return d
}

// maxErrors is how many errors of one kind are kept; the rest is counted.
const maxErrors = 3

// errorList joins errors without letting 5,000 peers make a message of a megabyte.
type errorList struct {
	first []error
	more  int
}

func (l *errorList) add(err error) {
	switch {
	case err == nil:
	case len(l.first) < maxErrors:
		l.first = append(l.first, err)
	default:
		l.more++
	}
}

func (l *errorList) err() error {
	if l.more > 0 {
		return errors.Join(append(slices.Clone(l.first), moreErrors(l.more))...)
	}
	return errors.Join(l.first...)
}
