package controllers

import (
	"encoding/json"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// writeKey says what a write was, for counting.
type writeKey struct{ kind, verb string }

// wrote counts a write that succeeded and expects the cache to show it.
func (p *pass) wrote(kind, verb string, obj client.Object) {
	p.r.echo.note(kind, obj, verb == "delete", p.now)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes[writeKey{kind, verb}]++
}

// hasFinalizer says whether the object carries the finalizer.
func hasFinalizer(obj metav1.Object, finalizer string) bool {
	return slices.Contains(obj.GetFinalizers(), finalizer)
}

// sameSpec compares what is rendered with what is stored. Plugins' own keys are compared as JSON values: the API server may
// print them in another way.
var sameSpec = func() func(a, b any) bool {
	e := equality.Semantic.Copy()
	if err := e.AddFunc(func(a, b runtime.RawExtension) bool {
		if string(a.Raw) == string(b.Raw) {
			return true
		}
		var x, y any
		if json.Unmarshal(a.Raw, &x) != nil || json.Unmarshal(b.Raw, &y) != nil {
			return false
		}
		return equality.Semantic.DeepEqual(x, y)
	}); err != nil {
		panic(err) // the signature above is wrong
	}
	return e.DeepEqual
}()
