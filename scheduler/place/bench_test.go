package place

import (
	"fmt"
	"testing"

	"github.com/weirflow/weir/api"
)

func thousand() []Node {
	nodes := make([]Node, 1000)
	for i := range nodes {
		nodes[i] = Node{ID: api.NodeID(fmt.Sprintf("n%04d", i)), Zone: fmt.Sprint("z", i%3), Free: 10}
	}
	return nodes
}

// BenchmarkPlace gives 10,000 slots on 1,000 nodes away, to few jobs or to many.
func BenchmarkPlace(b *testing.B) {
	for _, policy := range []Policy{Spread, Pack, Zone} {
		for _, jobs := range []int{1, 100, 10_000} {
			b.Run(fmt.Sprintf("policy=%s/jobs=%d", policy, jobs), func(b *testing.B) {
				nodes := thousand()
				b.ReportAllocs()
				for b.Loop() {
					f := NewFleet(nodes)
					for range jobs {
						p := f.Place(Job{Slots: 10_000 / jobs, Policy: policy})
						if !p.Fits {
							b.Fatal(p.Reason)
						}
						for _, s := range p.Start {
							f.Take(s.Node, s.Slots)
						}
					}
				}
			})
		}
	}
}

// BenchmarkTasks gives 10,000 tasks to 1,000 executors, as at the start and after the loss of one.
func BenchmarkTasks(b *testing.B) {
	for _, chains := range []int{1, 10} {
		b.Run(fmt.Sprintf("chains=%d", chains), func(b *testing.B) {
			var cs []Chain
			for i := range chains {
				cs = append(cs, Chain{ID: fmt.Sprint("c", i), Parallelism: 10_000 / chains})
			}
			var hosts []Host
			for i := range 1000 {
				hosts = append(hosts, Host{api.AllocID(fmt.Sprint("j.", i)), api.NodeID(fmt.Sprint("n", i)), 10 / chains})
			}
			placed, err := Tasks(cs, hosts)
			if err != nil {
				b.Fatal(err)
			}
			for i := range placed {
				c := &cs[i/(10_000/chains)]
				c.Before = append(c.Before, Seat{Alloc: placed[i].Alloc})
			}
			hosts[500].Alloc = "j.1000"
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Tasks(cs, hosts); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
