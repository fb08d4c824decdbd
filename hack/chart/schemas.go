package main

// What users may say in values that are passed on as they are. Helm shows a mistake in them to nobody: the API server would
// drop or refuse it on every node's pod instead, so the schema names the field first.

// one is a schema of objects that have these fields and no others.
func one(fields map[string]any) map[string]any {
	return map[string]any{"type": "object", "additionalProperties": false, "properties": fields}
}

// listOf is what a schema says of lists beyond their type.
func listOf(items map[string]any) map[string]any { return map[string]any{"items": items} }

var (
	text    = map[string]any{"type": "string"}
	seconds = map[string]any{"type": "integer"}
	// quantity is 2, "2Gi" or "500m"; share is 1 or "10%".
	quantity = map[string]any{"type": []any{"string", "number"}}
	share    = map[string]any{"type": []any{"string", "integer"}}

	quantities = map[string]any{"type": "object", "additionalProperties": quantity}
	anything   = map[string]any{"type": "object"}
)

var (
	texts     = listOf(text)
	labels    = map[string]any{"additionalProperties": text}
	names     = listOf(one(map[string]any{"name": text}))
	resources = one(map[string]any{"limits": quantities, "requests": quantities, "claims": map[string]any{"type": "array"}})
	affinity  = one(map[string]any{"nodeAffinity": anything, "podAffinity": anything, "podAntiAffinity": anything})

	tolerations = listOf(one(map[string]any{
		"key": text, "operator": map[string]any{"enum": []any{"Exists", "Equal", "Lt", "Gt"}}, "value": text,
		"effect": map[string]any{"enum": []any{"NoSchedule", "PreferNoSchedule", "NoExecute"}}, "tolerationSeconds": seconds,
	}))
	updateStrategy = one(map[string]any{
		"type":          map[string]any{"enum": []any{"RollingUpdate", "OnDelete"}},
		"rollingUpdate": one(map[string]any{"maxUnavailable": share, "maxSurge": share}),
	})
)
