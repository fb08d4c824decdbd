// Package gitops tests what config/gitops ships: the health script with the objects beside it, in the interpreter that Argo CD
// uses, and what kstatus, which Flux uses, makes of the same objects.
package gitops

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/yaml"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

const customization = "argocd/resource_customizations/net.hopsack.dev/NetworkConfig"

// healthTests is health_test.yaml.
type healthTests struct {
	Tests []struct {
		HealthStatus struct{ Status, Message string }
		InputPath    string
		KStatus      string
	}
}

func readTests(t *testing.T) healthTests {
	t.Helper()
	var tests healthTests
	data := read(t, filepath.Join(customization, "health_test.yaml"))
	if err := yaml.UnmarshalStrict([]byte(data), &tests); err != nil {
		t.Fatal(err)
	}
	inputs, err := filepath.Glob(filepath.Join(customization, "testdata", "*.yaml"))
	if err != nil || len(inputs) != len(tests.Tests) {
		t.Fatalf("%d objects for %d tests (%v)", len(inputs), len(tests.Tests), err)
	}
	return tests
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// readObject reads an object, and makes sure that it is one the API could hold.
func readObject(t *testing.T, path string) *unstructured.Unstructured {
	t.Helper()
	data := []byte(read(t, filepath.Join(customization, path)))
	if err := yaml.UnmarshalStrict(data, &v1alpha1.NetworkConfig{}); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	asJSON, err := yaml.YAMLToJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(asJSON); err != nil {
		t.Fatal(err)
	}
	return u
}

// health runs a script as Argo CD does: obj is the object, the result is a table with status and message.
func health(t *testing.T, script string, obj *unstructured.Unstructured) (state, message string) {
	t.Helper()
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer l.Close()
	// Argo CD opens these, and neither io nor most of os.
	for name, open := range map[string]lua.LGFunction{
		lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable,
	} {
		if err := l.CallByParam(lua.P{Fn: l.NewFunction(open), NRet: 0, Protect: true}, lua.LString(name)); err != nil {
			t.Fatal(err)
		}
	}
	l.SetGlobal("obj", toLua(l, obj.Object))
	if err := l.DoString(script); err != nil {
		t.Fatalf("health.lua: %v", err)
	}
	result, ok := l.Get(-1).(*lua.LTable)
	if !ok {
		t.Fatalf("health.lua returned %s, want a table", l.Get(-1).Type())
	}
	return result.RawGetString("status").String(), result.RawGetString("message").String()
}

func toLua(l *lua.LState, v any) lua.LValue {
	switch v := v.(type) {
	case map[string]any:
		table := l.NewTable()
		for key, value := range v {
			table.RawSetString(key, toLua(l, value))
		}
		return table
	case []any:
		table := l.NewTable()
		for _, value := range v {
			table.Append(toLua(l, value))
		}
		return table
	case string:
		return lua.LString(v)
	case bool:
		return lua.LBool(v)
	case int64:
		return lua.LNumber(v)
	case float64:
		return lua.LNumber(v)
	case nil:
		return lua.LNil
	default:
		panic(fmt.Sprintf("%T is not a JSON value", v))
	}
}

func TestArgoHealth(t *testing.T) {
	script := read(t, filepath.Join(customization, "health.lua"))
	for _, tt := range readTests(t).Tests {
		state, message := health(t, script, readObject(t, tt.InputPath))
		if state != tt.HealthStatus.Status || message != tt.HealthStatus.Message {
			t.Errorf("%s: got %s %q, want %s %q", tt.InputPath, state, message, tt.HealthStatus.Status, tt.HealthStatus.Message)
		}
	}
}

// TestKStatus: InProgress during a change, Current after it, Failed when it is stalled or was taken back.
func TestKStatus(t *testing.T) {
	for _, tt := range readTests(t).Tests {
		result, err := status.Compute(readObject(t, tt.InputPath))
		if err != nil {
			t.Errorf("%s: %v", tt.InputPath, err)
			continue
		}
		if result.Status.String() != tt.KStatus {
			t.Errorf("%s: got %s (%s), want %s", tt.InputPath, result.Status, result.Message, tt.KStatus)
		}
	}
}

// TestScriptIsTheSame: the ConfigMap carries the script that is tested.
func TestScriptIsTheSame(t *testing.T) {
	var m struct{ Data map[string]string }
	if err := yaml.Unmarshal([]byte(read(t, "argocd/argocd-cm.yaml")), &m); err != nil {
		t.Fatal(err)
	}
	want := read(t, filepath.Join(customization, "health.lua"))
	if got := m.Data["resource.customizations.health.net.hopsack.dev_NetworkConfig"]; got != want {
		t.Errorf("argocd-cm.yaml has another script than health.lua:\n%s", got)
	}
	ignored := m.Data["resource.customizations.ignoreDifferences.net.hopsack.dev_NetworkConfig"]
	for _, annotation := range []string{v1alpha1.PausedAnnotation, v1alpha1.RetryAnnotation, v1alpha1.CheckAnnotation} {
		if pointer := "/metadata/annotations/" + strings.ReplaceAll(annotation, "/", "~1"); !strings.Contains(ignored, pointer) {
			t.Errorf("argocd-cm.yaml does not ignore %s", pointer)
		}
	}
}

// TestExamplesParse: the examples are YAML, each document an object.
func TestExamplesParse(t *testing.T) {
	for _, path := range []string{"argocd/application.yaml", "flux/network.yaml"} {
		for i, document := range strings.Split(read(t, path), "\n---\n") {
			var o struct {
				APIVersion, Kind string
				Metadata         struct{ Name string }
			}
			if err := yaml.Unmarshal([]byte(document), &o); err != nil || o.APIVersion == "" || o.Kind == "" || o.Metadata.Name == "" {
				t.Errorf("%s, document %d: %v, %+v", path, i+1, err, o)
			}
		}
	}
}
