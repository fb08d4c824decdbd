package flannel

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// object is a JSON object as flannel's decoder (Go's) reads it: keys in any case, the last of several equal ones counts.
type object struct {
	keys   []string // as written, in order, without repetitions
	values map[string]json.RawMessage
	// repeated are keys that were there more than once.
	repeated []string
}

// parseObject reads exactly one JSON object.
func parseObject(data []byte) (object, error) {
	o := object{values: map[string]json.RawMessage{}}
	d := json.NewDecoder(bytes.NewReader(data))
	if err := expect(d, '{'); err != nil {
		return o, describe(err, data)
	}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return o, describe(err, data)
		}
		key, ok := token.(string)
		if !ok {
			return o, fmt.Errorf("%v is not a key", token)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return o, describe(err, data)
		}
		if folded := strings.ToLower(key); o.values[folded] == nil {
			o.keys = append(o.keys, key)
		} else {
			o.repeated = append(o.repeated, key)
		}
		o.values[strings.ToLower(key)] = value
	}
	if err := expect(d, '}'); err != nil {
		return o, describe(err, data)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return o, errors.New("there is something after the JSON object")
	}
	return o, nil
}

func expect(d *json.Decoder, want json.Delim) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	if token != want {
		return fmt.Errorf("want a JSON object, got %v", token)
	}
	return nil
}

// describe says in which line the input is not JSON.
func describe(err error, data []byte) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		line := 1 + bytes.Count(data[:min(int(syntax.Offset), len(data))], []byte("\n"))
		return fmt.Errorf("line %d is not JSON: %w", line, err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the JSON ends too early")
	}
	return err
}

// present says whether there is a value other than null.
func (o object) present(key string) bool {
	v, ok := o.values[strings.ToLower(key)]
	return ok && string(v) != "null"
}

// raw is the text of a value, for messages; quotes are left out.
func (o object) raw(key string) string {
	v := o.values[strings.ToLower(key)]
	var s string
	if json.Unmarshal(v, &s) == nil {
		return s
	}
	return string(v)
}

func (o object) text(key string) (string, error) {
	if !o.present(key) {
		return "", nil
	}
	var s string
	if err := json.Unmarshal(o.values[strings.ToLower(key)], &s); err != nil {
		return "", fmt.Errorf("%s: %s is not a string", key, o.raw(key))
	}
	return strings.TrimSpace(s), nil
}

// number reads a whole number, also one in quotes; 0 where it is absent.
func (o object) number(key string) (int64, error) {
	if !o.present(key) {
		return 0, nil
	}
	n, err := strconv.ParseInt(strings.TrimSpace(o.raw(key)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is not a whole number", key, o.raw(key))
	}
	return n, nil
}

// flag reads a boolean, also one in quotes; otherwise where it is absent.
func (o object) flag(key string, otherwise bool) (bool, error) {
	if !o.present(key) {
		return otherwise, nil
	}
	switch strings.ToLower(strings.TrimSpace(o.raw(key))) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("%s: %q is neither true nor false", key, o.raw(key))
}

// child reads an object inside; absent is empty.
func (o object) child(key string) (object, error) {
	if !o.present(key) {
		return object{values: map[string]json.RawMessage{}}, nil
	}
	inner, err := parseObject(o.values[strings.ToLower(key)])
	if err != nil {
		return inner, fmt.Errorf("%s: %w", key, err)
	}
	return inner, nil
}
