package main

import (
	"fmt"
	"strings"
)

// lookup returns the field at a path of keys; in a list, a key is the name of a member.
func lookup(o map[string]any, path string) (any, error) {
	var found any
	err := visit(o, path, func(v any) any {
		found = v
		return v
	})
	return found, err
}

// replace puts something else into the place of a field that is there.
func replace(o map[string]any, path string, with any) error {
	return visit(o, path, func(any) any { return with })
}

// visit calls change with the field at path, and puts what it returns there.
func visit(in any, path string, change func(any) any) error {
	key, rest, more := strings.Cut(path, "/")
	switch in := in.(type) {
	case object:
		return visit(map[string]any(in), path, change)
	case map[string]any:
		v, ok := in[key]
		if !ok {
			return fmt.Errorf("there is no %s", key)
		}
		if !more {
			in[key] = change(v)
			return nil
		}
		return visit(v, rest, change)
	case []any:
		for i, v := range in {
			if member, ok := v.(map[string]any); ok && member["name"] == key {
				if !more {
					in[i] = change(v)
					return nil
				}
				return visit(v, rest, change)
			}
		}
		return fmt.Errorf("no member has the name %s", key)
	default:
		return fmt.Errorf("%s is asked of a value that has no fields", key)
	}
}
