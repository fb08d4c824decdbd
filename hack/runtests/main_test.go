package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSelectPackages(t *testing.T) {
	packages := []string{"m/api", "m/cmd/x", "m/test/crd", "m/test/labels", "m/test/lab", "m/test/lab/cmd/lab", "m/test/lab/kubelet", "m/test/e2e"}
	var got [][]string
	for i := range stages() {
		got = append(got, selectPackages(stages(), i, "m", packages))
	}
	want := [][]string{
		{"m/api", "m/cmd/x", "m/test/labels"}, {"m/test/crd"}, {"m/test/lab", "m/test/lab/cmd/lab"}, {"m/test/lab/kubelet"}, {"m/test/e2e"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stages (-want +got):\n%s", diff)
	}
}

func TestResult(t *testing.T) {
	const events = `
{"Action":"build-output","ImportPath":"m/broken","Output":"x.go:1: syntax error\n"}
{"Action":"output","Package":"m/broken","Output":"FAIL\tm/broken [build failed]\n"}
{"Action":"fail","Package":"m/broken"}
{"Action":"output","Package":"m/a","Test":"TestGood","Output":"unseen\n"}
{"Action":"pass","Package":"m/a","Test":"TestGood"}
{"Action":"output","Package":"m/a","Test":"TestBad","Output":"    got 1, want 2\n"}
{"Action":"fail","Package":"m/a","Test":"TestBad"}
{"Action":"skip","Package":"m/a","Test":"TestLazy"}
{"Action":"output","Package":"m/a","Output":"FAIL\tm/a\t0.1s\n"}
{"Action":"fail","Package":"m/a"}
{"Action":"output","Package":"m/p","Test":"TestPanics","Output":"panic: oh\n"}
{"Action":"output","Package":"m/p","Output":"FAIL\tm/p\t0.1s\n"}
{"Action":"fail","Package":"m/p"}
{"Action":"output","Package":"m/b","Output":"ok  \tm/b\t0.1s\n"}
{"Action":"pass","Package":"m/b"}
{"Action":"output","Package":"m/c","Output":"?   \tm/c\t[no test files]\n"}
{"Action":"skip","Package":"m/c"}
`
	var out strings.Builder
	r := newResult("all", &out)
	if err := r.read(strings.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	if err := summarize(&out, []*result{r}); err == nil {
		t.Error("summarize: no error, want one")
	}
	want := "x.go:1: syntax error\nFAIL\tm/broken [build failed]\n    got 1, want 2\nFAIL\tm/a\t0.1s\nFAIL\tm/p\t0.1s\npanic: oh\nok  \tm/b\t0.1s\n" +
		"?   \tm/c\t[no test files]\n== summary\n" +
		"all                5 packages      1 tests passed    1 failed    1 skipped     0.0 s\nskipped: m/a TestLazy\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}
