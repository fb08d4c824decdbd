package nft

import (
	"context"

	"github.com/hopsack-net/hopsack/node-agent/desired"
)

type Table struct{}

func NewTable() (*Table, error) { return &Table{}, nil }

func (*Table) Sync(ctx context.Context, want *desired.Firewall, full bool) (int, []desired.Problem, error) {
	return 0, nil, nil
}

type Forward struct{}

func NewForward() (*Forward, error) { return &Forward{}, nil }

func (*Forward) Sync(ctx context.Context, want *desired.Firewall, full bool) (int, []desired.Problem, error) {
	return 0, nil, nil
}
