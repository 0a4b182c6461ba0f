package state

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/keyhash"
)

// carry loads what one state holds into another, as a restore does.
func carry(from, to Resident) error {
	groups := flow.KeyGroupRange{End: rigGroups}
	z, err := from.Freeze(rigGroups, groups)
	if err != nil {
		return err
	}
	l, err := to.Loader(rigGroups, from.Schema())
	if err != nil {
		return err
	}
	for g := range groups.End {
		if err := z.Each(g, func(key, value []byte) error { return l.Load(g, key, value) }); err != nil {
			return err
		}
	}
	l.Done()
	return nil
}

type (
	priceV1 struct{ Cents int64 }
	priceV2 struct {
		Cents    int64
		Currency string
	}
	priceV3 struct {
		Amount   string
		Currency string `msgpack:",default:EUR"`
	}
)

func migrations() []Migration[priceV3] {
	amount := func(cents int64) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }
	return []Migration[priceV3]{
		Migrate(func(p priceV1) priceV3 { return priceV3{amount(p.Cents), "CHF"} }),
		Migrate(func(p priceV2) priceV3 { return priceV3{amount(p.Cents), p.Currency} }),
	}
}

// stored declares a value, and gives it one for the key "a".
func stored[V any](t *testing.T, o Options[V], v ...V) (Value[V], Resident) {
	t.Helper()
	hash, err := keyhash.For[string]()
	if err != nil {
		t.Fatal(err)
	}
	var r Resident
	h, err := NewValue(keeper{r: &r}, Descriptor{Operator: "op", Name: "price"}, &Current[string]{Hash: hash("a"), Key: "a"}, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range v {
		h.Set(v)
	}
	return h, r
}

func TestMigrate(t *testing.T) {
	_, v1 := stored(t, Options[priceV1]{}, priceV1{150})
	_, v2 := stored(t, Options[priceV2]{}, priceV2{275, "USD"})
	_, v3 := stored(t, Options[priceV3]{}, priceV3{"9.00", ""})
	type renamed struct{ Cents int64 }
	_, other := stored(t, Options[renamed]{}, renamed{60})
	type narrow struct{ Cents int16 }
	_, byName := stored(t, Options[narrow]{}, narrow{70})
	clock := flow.Time(0)
	o := Options[priceV3]{Migrations: migrations(), Clock: func() flow.Time { return clock }}
	for _, ttl := range []time.Duration{0, time.Hour} {
		o.TTL.After = ttl
		for _, c := range []struct {
			from Resident
			want priceV3
		}{
			{v1, priceV3{"1.50", "CHF"}},
			{v2, priceV3{"2.75", "USD"}},
			{v3, priceV3{"9.00", ""}},
			{other, priceV3{"0.60", "CHF"}},
			// What the state's type can read by name needs no migration, though one of
			// them could: nothing of it is left but the default.
			{byName, priceV3{"", "EUR"}},
		} {
			h, r := stored(t, o)
			if err := carry(c.from, r); err != nil {
				t.Errorf("%s: %v", c.from.Schema().Value, err)
			} else if got, ok := h.Get(); !ok || got != c.want {
				t.Errorf("%s: %+v, %v; want %+v", c.from.Schema().Value, got, ok, c.want)
			}
		}
	}
	// A second restart finds the new type.
	h, r := stored(t, o)
	h2, r2 := stored(t, Options[priceV3]{Clock: o.Clock})
	if err := errors.Join(carry(v2, r), carry(r, r2)); err != nil {
		t.Fatal(err)
	}
	a, _ := h.Get()
	if b, ok := h2.Get(); !ok || a != b {
		t.Errorf("%+v, then %+v", a, b)
	}
}

func TestMigrateLists(t *testing.T) {
	hash, err := keyhash.For[string]()
	if err != nil {
		t.Fatal(err)
	}
	cur := &Current[string]{Hash: hash("a"), Key: "a"}
	d := Descriptor{Operator: "op", Name: "list"}
	var from, to Resident
	old, err := NewList(keeper{r: &from}, d, cur, Options[uint8]{})
	if err != nil {
		t.Fatal(err)
	}
	old.Append(1, 2, 3)
	for _, ttl := range []time.Duration{0, time.Hour} {
		now, err := NewList(keeper{r: &to}, d, cur, Options[string]{TTL: TTL{After: ttl},
			Migrations: []Migration[string]{Migrate(func(v uint8) string { return fmt.Sprint("n", v) })}})
		if err != nil {
			t.Fatal(err)
		}
		if err := carry(from, to); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(now.Get()); got != "[n1 n2 n3]" {
			t.Errorf("list %s", got)
		}
	}
}

func TestRefusedWithAllDifferences(t *testing.T) {
	type old struct {
		Count int64
		Parts []struct{ N float64 }
		Name  string
	}
	type now struct {
		Count string
		Parts []struct{ N int32 }
		Name  string
	}
	_, from := stored(t, Options[old]{}, old{})
	_, to := stored(t, Options[now]{})
	want := "\n  value: field Count: int64 → string: the kinds differ\n  value: field Parts[].N: float64 → int32: the kinds differ"
	err := Compatible(from.Schema(), to.Schema())
	if err == nil || err.Error() != want {
		t.Errorf("Compatible: %v", err)
	}
	if _, err := to.Loader(rigGroups, from.Schema()); !errors.Is(err, ErrIncompatible) || !strings.Contains(err.Error(), want) ||
		!strings.Contains(err.Error(), `value "price" of op`) || !strings.Contains(err.Error(), "migration") {
		t.Errorf("Loader: %v", err)
	}
	if err := Compatible(Schema{Kind: KindList}, Schema{Kind: KindMap}); err == nil || err.Error() != "it was a list and is a map now" {
		t.Errorf("another kind: %v", err)
	}
	// A time to live is no difference.
	_, ttl := stored(t, Options[old]{TTL: TTL{After: time.Hour}})
	if err := errors.Join(Compatible(from.Schema(), ttl.Schema()), Compatible(ttl.Schema(), from.Schema())); err != nil {
		t.Error(err)
	}
}

// TestTTLOverRestart adds a time to live, makes it shorter and longer, and takes it away.
func TestTTLOverRestart(t *testing.T) {
	clock := flow.Time(0)
	declare := func(after time.Duration, v ...int) (Value[int], Resident) {
		return stored(t, Options[int]{TTL: TTL{After: after}, Clock: func() flow.Time { return clock }}, v...)
	}
	restart := func(from Resident, after time.Duration) (Value[int], Resident) {
		h, r := declare(after)
		if err := carry(from, r); err != nil {
			t.Fatal(err)
		}
		return h, r
	}
	there := func(h Value[int], at flow.Time, want bool) {
		t.Helper()
		clock = at
		if v, ok := h.Get(); ok != want || ok && v != 7 {
			t.Errorf("at %d: %d, %v; want %v", at, v, ok, want)
		}
	}
	const ms = time.Microsecond
	_, plain := declare(0, 7)
	clock = 1000
	h, r := restart(plain, 100*ms) // from now on
	there(h, 1099, true)
	clock = 1010
	h, _ = restart(r, 20*ms) // shorter: from now on
	there(h, 1029, true)
	there(h, 1030, false)
	clock = 1010
	h, _ = restart(r, time.Hour) // longer: as it was, until it is written
	there(h, 1099, true)
	there(h, 1100, false)
	clock = 1010
	h, _ = restart(r, 0) // none
	there(h, 1_000_000, true)
	clock = 1010
	_, r = declare(100*ms, 7)
	clock = 1110
	h, _ = restart(r, 0) // expired before it was taken away
	there(h, 1110, false)
}
