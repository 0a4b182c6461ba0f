package state

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/keyhash"
)

// mapDisk is a disk that is a Go map: what has been put is on it when a test says so.
type mapDisk struct {
	m    map[string]string // key group, key
	room bool
	err  error
}

func diskKey(g flow.KeyGroup, key []byte) string { return fmt.Sprintf("%05d", g) + string(key) }

func (d *mapDisk) Get(g flow.KeyGroup, key []byte) ([]byte, bool) {
	v, ok := d.m[diskKey(g, key)]
	return []byte(v), ok
}

func (d *mapDisk) Scan(g flow.KeyGroup, prefix, from []byte, f func(key, value []byte) bool) {
	for _, k := range slices.Sorted(maps.Keys(d.m)) {
		key := []byte(k[5:])
		if k[:5] != diskKey(g, nil) || !bytes.HasPrefix(key, prefix) || bytes.Compare(key, from) < 0 {
			continue
		}
		if !f(key, []byte(d.m[k])) {
			return
		}
	}
}

func (d *mapDisk) Room(int64) bool { return d.room }
func (d *mapDisk) Fail(err error)  { d.err = err }

// put gathers what comes to the disk, of a cut or of a flush.
func (d *mapDisk) put(flying *[]func(), flush bool) Put {
	seen := map[string]bool{}
	return func(g flow.KeyGroup, key, value []byte) {
		k, v := diskKey(g, key), string(value)
		if seen[k] && !flush {
			panic("put twice at one cut")
		}
		seen[k] = true
		if value == nil {
			*flying = append(*flying, func() { delete(d.m, k) })
		} else {
			*flying = append(*flying, func() { d.m[k] = v })
		}
	}
}

// TestPages runs random calls on cells in front of a disk, in lockstep with a map,
// while cuts, draining and eviction go on. At each cut the map is copied: when the
// cut has landed, the disk must hold the copy and nothing else. Values are changed
// in place, through pointers that they hold.
func TestPages(t *testing.T) {
	t.Run("number", func(t *testing.T) {
		testPages(t, rapid.Uint64Range(0, 200), func(k uint64) []int { return []int{int(k)} })
	})
	t.Run("text", func(t *testing.T) {
		testPages(t, rapid.SampledFrom([]string{"", "a", "b", "c", "a longer key that is not inline"}), func(k string) []int { return nil })
	})
}

func testPages[K comparable](t *testing.T, keys *rapid.Generator[K], first func(K) []int) {
	hash, err := keyhash.For[K]()
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		c, err := NewCells[K, struct{}, []int](registry{}, Descriptor{Name: "c"})
		if err != nil {
			rt.Fatal(err)
		}
		d := &mapDisk{m: map[string]string{}, room: rapid.Bool().Draw(rt, "room")}
		all := flow.KeyGroupRange{End: 4}
		c.Mount(Mount{Disk: d, MaxParallelism: 4, KeyGroups: all})
		model := map[K][]int{}
		type cut struct {
			want   map[K][]int
			flying []func()
			flush  bool // nobody knows what should be on disk
		}
		var cuts []*cut // that have not settled
		drained := true // all of them
		settle := func() {
			if len(cuts) == 0 || len(cuts) == 1 && !drained {
				return
			}
			want, flush := cuts[0].want, cuts[0].flush
			for _, f := range cuts[0].flying {
				f()
			}
			cuts = cuts[1:]
			c.Settled()
			got := map[K][]int{}
			for g := range all.End {
				d.Scan(g, nil, nil, func(key, value []byte) bool {
					h, k, _, err := c.f.decodeKey(key, g, 4)
					var v []int
					if err == nil {
						err = c.f.decodeValue(value, &v)
					}
					if err != nil || h != hash(k) {
						rt.Fatal(err)
					}
					got[k] = v
					return true
				})
			}
			if !flush && fmt.Sprint(got) != fmt.Sprint(want) {
				rt.Fatalf("the disk has\n%v, want\n%v", got, want)
			}
		}
		drain := func() {
			for !drained {
				drained = c.Drain(3)
			}
		}
		for i := range rapid.IntRange(0, 300).Draw(rt, "calls") {
			k := keys.Draw(rt, "k")
			m, had := model[k]
			switch rapid.SampledFrom([]string{"ref", "ref", "ref", "find", "delete", "cut", "flush", "join", "drain", "drain", "settle", "evict", "each"}).Draw(rt, "call") {
			case "ref":
				p, fresh := c.Ref(hash(k), k, struct{}{})
				if fresh == had || fmt.Sprint(*p) != fmt.Sprint(m) {
					rt.Fatalf("call %d: Ref(%v) is %v, %v; want %v, %v", i, k, *p, fresh, m, !had)
				}
				if len(*p) > 0 && i%2 == 0 {
					(*p)[0]++ // the copy in want must not see this
					m[0]++
				} else {
					*p = append(*p, append(first(k), i)...)
					m = append(slices.Clone(m), append(first(k), i)...)
				}
				model[k] = m
			case "find":
				if p := c.Find(hash(k), k, struct{}{}); (p != nil) != had || had && fmt.Sprint(*p) != fmt.Sprint(m) {
					rt.Fatalf("call %d: Find(%v) is %v, want %v, %v", i, k, p, m, had)
				}
			case "delete":
				if got := c.Delete(hash(k), k, struct{}{}); got != had {
					rt.Fatalf("call %d: Delete(%v) is %v", i, k, got)
				}
				delete(model, k)
			case "cut":
				drain()
				for len(cuts) > 1 {
					settle()
				}
				z := &cut{want: map[K][]int{}}
				for k, v := range model {
					z.want[k] = slices.Clone(v)
				}
				cuts, drained = append(cuts, z), false
				c.Cut(d.put(&z.flying, false), false)
			case "flush":
				drain()
				for len(cuts) > 1 {
					settle()
				}
				z := &cut{flush: true}
				cuts, drained = append(cuts, z), false
				c.Flush(d.put(&z.flying, true))
			case "join":
				if n := len(cuts); n > 0 && cuts[n-1].flush {
					z := &cut{want: map[K][]int{}, flying: cuts[n-1].flying}
					for k, v := range model {
						z.want[k] = slices.Clone(v)
					}
					cuts[n-1], drained = z, false
					c.Cut(d.put(&z.flying, false), true)
				}
			case "drain":
				drained = c.Drain(rapid.IntRange(1, 40).Draw(rt, "n"))
			case "settle":
				settle()
			case "evict":
				c.Evict(rapid.Int64Range(0, 5000).Draw(rt, "bytes"))
				d.room = rapid.Bool().Draw(rt, "room")
			case "each":
				got := map[K][]int{}
				c.Each(func(h flow.Hash, k K, _ struct{}, v *[]int) bool {
					if _, twice := got[k]; twice || h != hash(k) {
						rt.Fatalf("call %d: Each gives %v twice, or with the hash %x", i, k, h)
					}
					got[k] = *v
					return true
				})
				if fmt.Sprint(got) != fmt.Sprint(model) {
					rt.Fatalf("call %d: Each gives\n%v, want\n%v", i, got, model)
				}
			}
			if c.Len() != len(model) {
				rt.Fatalf("call %d: Len is %d, want %d", i, c.Len(), len(model))
			}
			checkTable(rt, &c.t, c.t.n)
		}
		drain()
		for len(cuts) > 0 {
			settle()
		}
		if d.err != nil {
			rt.Fatal(d.err)
		}
	})
}
