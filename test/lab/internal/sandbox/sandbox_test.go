package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
)

func TestRetriable(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want bool
	}{
		"no configuration":         {fmt.Errorf("add: %w", errNoNetwork), true},
		"try again later":          {fmt.Errorf("add: %w", &types.Error{Code: types.ErrTryAgainLater}), true},
		"plugin not available":     {&types.Error{Code: 50}, true},
		"limited connectivity":     {&types.Error{Code: 51}, true},
		"invalid configuration":    {&types.Error{Code: types.ErrInvalidNetworkConfig}, false},
		"anything else":            {errors.New("no"), false},
		"ADD and the DEL after it": {errors.Join(&types.Error{Code: types.ErrTryAgainLater}, errors.New("delete")), true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := retriable(tc.err); got != tc.want {
				t.Errorf("got %t, want %t", got, tc.want)
			}
		})
	}
}

func TestServeAnswersEveryRequest(t *testing.T) {
	var out bytes.Buffer
	if err := Serve(t.Context(), strings.NewReader(`{"op":"fly","name":"a"}`), &out); err != nil {
		t.Fatal(err)
	}
	var reply Reply
	if err := json.Unmarshal(out.Bytes(), &reply); err != nil {
		t.Fatal(err)
	}
	if reply.Error != `unknown operation "fly"` || reply.Retry {
		t.Errorf("got %+v", reply)
	}
	if err := Serve(t.Context(), strings.NewReader("{"), &out); err == nil {
		t.Error("half a request was served")
	}
}

func TestSinglePluginIsAListOfOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "00-old.conf")
	if err := os.WriteFile(path, []byte(`{"cniVersion":"0.4.0","name":"old","type":"bridge","bridge":"br7"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	list, err := singlePlugin(path)
	if err != nil {
		t.Fatal(err)
	}
	if list.Name != "old" || list.CNIVersion != "0.4.0" || len(list.Plugins) != 1 || list.Plugins[0].Network.Type != "bridge" {
		t.Errorf("got %+v", list)
	}
}
