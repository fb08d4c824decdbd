package install

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hopsack-net/hopsack/test/lab"
)

// service is where pods find the API server.
const service = "10.96.0.1:443"

// thief is somebody who has found the token in the agent's pod on node n1, and uses it from there.
type thief struct {
	token string
	web   *http.Client
}

// steal reads what the kubelet has put into the agent's pod on a node, from the node's files.
func (w *world) steal(t *testing.T, s site, node string) *thief {
	t.Helper()
	uid := w.kubectl(t, "get", "pods", "--namespace", s.namespace, "--selector=app.kubernetes.io/component=agent",
		"--field-selector=spec.nodeName="+node, "-o", "jsonpath={.items[0].metadata.uid}")
	volume := "/var/lib/kubelet/pods/" + uid + "/volumes/kubernetes.io~projected/*/"
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(w.sh(t, node, "cat "+volume+"ca.crt"))) {
		t.Fatal("the pod's volume has no certificate of the API server's authority")
	}
	netns, err := w.NetNS(node)
	if err != nil {
		t.Fatal(err)
	}
	dial := func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		err = lab.WithNetNS(netns, func() error {
			conn, err = (&net.Dialer{}).DialContext(ctx, network, addr)
			return err
		})
		return conn, err
	}
	transport := &http.Transport{DialContext: dial, TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	return &thief{
		token: strings.TrimSpace(w.sh(t, node, "cat "+volume+"token")),
		web:   &http.Client{Transport: transport, Timeout: time.Minute},
	}
}

// attempt is one request with the token.
type attempt struct {
	name, method, path string
	// body is JSON; a patch with a field manager is an apply, any other a merge.
	body string
	// as are further headers, as NAME=VALUE.
	as []string
	// refused is in the sentence of the refusal; empty: allowed.
	refused string
}

// ask sends the request and returns status and sentence of the answer; what is no refusal has none.
func (th *thief) ask(ctx context.Context, a attempt) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, a.method, "https://"+service+a.path, strings.NewReader(a.body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Authorization", "Bearer "+th.token)
	req.Header.Set("Content-Type", "application/json")
	if a.method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
		if strings.Contains(a.path, "fieldManager=") {
			req.Header.Set("Content-Type", "application/apply-patch+yaml")
		}
	}
	for _, header := range a.as {
		name, value, _ := strings.Cut(header, "=")
		req.Header[name] = append(req.Header[name], value)
	}
	response, err := th.web.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return 0, "", err
	}
	var status struct{ Kind, Status, Message string }
	if err := json.Unmarshal(body, &status); err != nil || status.Kind != "Status" || status.Status == "Success" {
		status.Message = ""
	}
	if response.StatusCode >= 400 && status.Message == "" {
		status.Message = strings.TrimSpace(string(body))
	}
	return response.StatusCode, status.Message, nil
}

// try makes every attempt and returns the table of the answers.
func (th *thief) try(t *testing.T, all []attempt) string {
	t.Helper()
	var table strings.Builder
	for _, a := range all {
		code, sentence, err := th.ask(t.Context(), a)
		if err != nil {
			t.Fatalf("%s: %v", a.name, err)
		}
		switch {
		case a.refused == "" && code >= 300:
			t.Errorf("%s: refused with %d: %s", a.name, code, sentence)
		case a.refused != "" && code != http.StatusForbidden:
			t.Errorf("%s: got %d: %s, want it forbidden", a.name, code, sentence)
		case a.refused != "" && !strings.Contains(sentence, a.refused):
			t.Errorf("%s: refused with %q, want %q in it", a.name, sentence, a.refused)
		}
		if sentence == "" {
			sentence = "-"
		}
		fmt.Fprintf(&table, "%-52s %d  %s\n", a.name, code, sentence)
	}
	return table.String()
}
