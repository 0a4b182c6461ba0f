package agent

import (
	"encoding/json"
	"hash/fnv"
	"reflect"

	"github.com/weirflow/weir/api"
)

// same reports that two descriptions of a node are one.
func same(a, b *api.Node) bool { return reflect.DeepEqual(a, b) }

// sameStatus reports that nothing is new in a status. Epochs come by the second, and nobody
// decides anything by them.
func sameStatus(a, b *api.AllocStatus) bool {
	x, y := *a, *b
	if x.Job != nil && y.Job != nil {
		j := *x.Job
		j.Epoch = y.Job.Epoch
		x.Job = &j
	}
	return reflect.DeepEqual(&x, &y)
}

// sum tells orders from others. It is not 0.
func sum(o *api.Orders) uint64 {
	c := *o
	c.Seq, c.Leader, c.Lease, c.Index, c.Sum = 0, "", 0, 0, 0
	b, err := json.Marshal(&c)
	if err != nil {
		panic("agent: orders are no plain data: " + err.Error())
	}
	h := fnv.New64a()
	_, _ = h.Write(b) // never fails
	return h.Sum64() | 1
}
