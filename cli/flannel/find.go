package flannel

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// origin is where a configuration was kept, which decides where flannel took subnets from.
type origin int

const (
	originFile       origin = iota // net-conf.json alone: either
	originEtcd                     // leases in etcd
	originKubernetes               // Node.spec.podCIDR
)

// found is what an input holds.
type found struct {
	origin  origin
	netConf []byte
	// cniConf is cni-conf.json; nil where there is none.
	cniConf []byte
	// args are the arguments of flanneld; manifest says that they are known.
	args     []string
	manifest bool
}

// maxInput is far more than any manifest.
const maxInput = 8 << 20

// find looks for flannel's configuration in whatever people have it in.
func find(data []byte) (found, error) {
	if len(data) > maxInput {
		return found{}, fmt.Errorf("the input is larger than %d MiB", maxInput>>20)
	}
	data = bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\ufeff")))
	if len(data) == 0 {
		return found{}, errors.New("the input is empty")
	}
	if text, etcd := unwrap(data); looksLikeNetConf(text) {
		out := found{netConf: text}
		if etcd {
			out.origin = originEtcd
		}
		return out, nil
	}
	return findInManifest(data)
}

// unwrap takes off what shells and etcdctl put around a value: the key on a line before it, quotes, backslashes, a response.
func unwrap(data []byte) (value []byte, etcd bool) {
	for range 4 { // a value that is wrapped more often is no configuration
		if key, rest, ok := bytes.Cut(data, []byte("\n")); ok && bytes.HasPrefix(key, []byte("/")) {
			data, etcd = bytes.TrimSpace(rest), true
			continue
		}
		if inner, ok := fromResponse(data); ok {
			data, etcd = bytes.TrimSpace(inner), true
			continue
		}
		inner, ok := unquote(data)
		if !ok {
			break
		}
		data, etcd = bytes.TrimSpace(inner), true
	}
	return data, etcd
}

// unquote takes off one layer of quotes or backslashes.
func unquote(data []byte) ([]byte, bool) {
	var s string
	switch {
	case len(data) < 2:
	case data[0] == '"' && json.Unmarshal(data, &s) == nil:
		return []byte(s), true
	case data[0] == '\'' && data[len(data)-1] == '\'':
		return data[1 : len(data)-1], true
	case data[0] == '{' && bytes.Contains(data, []byte(`\"`)) && !json.Valid(data):
		if json.Unmarshal([]byte(`"`+strings.ReplaceAll(string(data), "\n", " ")+`"`), &s) == nil {
			return []byte(s), true
		}
	}
	return nil, false
}

// fromResponse takes the value out of what etcdctl prints with -o json (version 2) or -w json (version 3).
func fromResponse(data []byte) ([]byte, bool) {
	var v3 struct {
		KVs []struct{ Value string }
	}
	var v2 struct {
		Node struct{ Value string }
	}
	if json.Unmarshal(data, &v3) == nil && len(v3.KVs) == 1 {
		if value, err := base64.StdEncoding.DecodeString(v3.KVs[0].Value); err == nil {
			return value, true
		}
	}
	if json.Unmarshal(data, &v2) == nil && v2.Node.Value != "" {
		return []byte(v2.Node.Value), true
	}
	return nil, false
}

// looksLikeNetConf says whether text is meant as net-conf.json: an object with one of flannel's keys. Text that is not quite
// JSON counts too, so that its error is about the JSON.
func looksLikeNetConf(text []byte) bool {
	if len(text) == 0 || text[0] != '{' {
		return false
	}
	o, err := parseObject(text)
	if err != nil {
		lower := strings.ToLower(string(text))
		return strings.Contains(lower, `"network"`) || strings.Contains(lower, `"backend"`)
	}
	for _, key := range topLevel() {
		if _, ok := o.values[strings.ToLower(key)]; ok {
			return true
		}
	}
	return len(o.keys) == 0
}

// manifestObject is as much of a Kubernetes object as matters here.
type manifestObject struct {
	Kind     string
	Metadata struct{ Name, Namespace string }
	Data     map[string]string
	Items    []json.RawMessage
	Spec     struct {
		Template struct {
			Spec struct {
				Containers []struct {
					Name          string
					Command, Args []string
				}
			}
		}
	}
}

// findInManifest looks in a ConfigMap, a list, the data of a ConfigMap alone, or several YAML documents.
func findInManifest(data []byte) (found, error) {
	var out found
	var where []string
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for n := 1; ; n++ {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return out, fmt.Errorf("read document %d: %w", n, err)
		}
		asJSON, err := yaml.YAMLToJSON(document)
		if err != nil {
			return out, fmt.Errorf("document %d is neither net-conf.json nor YAML: %w", n, err)
		}
		if err := out.take(asJSON, &where); err != nil {
			return out, fmt.Errorf("document %d: %w", n, err)
		}
	}
	switch len(where) {
	case 0:
		return out, errors.New("there is no flannel configuration in it: neither the keys of net-conf.json (such as Network), nor a ConfigMap with net-conf.json")
	case 1:
		out.origin = originKubernetes
		return out, nil
	default:
		return out, fmt.Errorf("it holds more than one net-conf.json (%s): give one of them", strings.Join(where, ", "))
	}
}

// take takes over what one object holds; where gathers the objects that hold a configuration.
func (f *found) take(data []byte, where *[]string) error {
	if len(data) == 0 || data[0] != '{' {
		return nil // an empty document, or no object
	}
	var o manifestObject
	if err := json.Unmarshal(data, &o); err != nil {
		return f.takeData(data, where) // data of another shape, such as a ConfigMap's data alone
	}
	for _, item := range o.Items {
		if err := f.take(item, where); err != nil {
			return err
		}
	}
	for _, c := range o.Spec.Template.Spec.Containers {
		if runsFlannel(c.Command, c.Args) {
			f.args, f.manifest = append(c.Command[min(1, len(c.Command)):], c.Args...), true
		}
	}
	if netConf, ok := o.Data["net-conf.json"]; ok {
		*where = append(*where, o.Kind+" "+o.Metadata.Namespace+"/"+o.Metadata.Name)
		f.setConf(netConf, o.Data["cni-conf.json"])
		return nil
	}
	if o.Kind == "" {
		return f.takeData(data, where)
	}
	return nil
}

// takeData reads the data of a ConfigMap that was given without the ConfigMap.
func (f *found) takeData(data []byte, where *[]string) error {
	var texts map[string]any
	if err := json.Unmarshal(data, &texts); err != nil {
		return err
	}
	if netConf, ok := texts["net-conf.json"].(string); ok {
		*where = append(*where, "net-conf.json")
		cni, _ := texts["cni-conf.json"].(string)
		f.setConf(netConf, cni)
	}
	return nil
}

func (f *found) setConf(netConf, cniConf string) {
	text, _ := unwrap([]byte(strings.TrimSpace(netConf)))
	f.netConf = text
	if cniConf != "" {
		f.cniConf = []byte(cniConf)
	}
}

func runsFlannel(command, args []string) bool {
	for _, word := range append(append([]string{}, command...), args...) {
		if strings.HasSuffix(word, "flanneld") || word == "--kube-subnet-mgr" || strings.HasPrefix(word, "--kube-subnet-mgr=") {
			return true
		}
	}
	return false
}
