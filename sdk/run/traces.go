package run

import (
	"context"
	"os"

	"github.com/weirflow/weir/internal/node"
	"github.com/weirflow/weir/internal/obs/traces"
)

// trace has a collector told of the job, where one is named here or by OpenTelemetry's variables,
// until stop is called.
func (o *Options) trace(n *node.Options, endpoint, service, instance string, v traces.Version) (stop func(), err error) {
	t, err := traces.Open(context.Background(), traces.Options{Endpoint: endpoint, Service: service, Instance: instance, Lookup: os.LookupEnv, Log: o.Log})
	if err != nil {
		return nil, err
	}
	n.Traces = t.Job(v)
	return func() {
		if err := t.Close(); err != nil && o.Log != nil {
			o.Log.Warn("traces are lost", "err", err) // which is no failure of the job
		}
	}, nil
}
