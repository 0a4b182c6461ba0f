package postgres

import (
	"encoding/hex"
	"reflect"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
)

// TestStagedForm holds fast the bytes of a staged file, and the table of marks.
func TestStagedForm(t *testing.T) {
	type line struct {
		ID   int64
		Name *string
		Big  bool
	}
	s := Sink[line]("postgres://u@127.0.0.1:1/d", "t").(*sink[line])
	if s.err != nil {
		t.Fatal(s.err)
	}
	w := &writer[line]{sink: s, types: pgtype.NewMap(), oids: []uint32{pgtype.Int8OID, pgtype.TextOID, pgtype.BoolOID}}
	w.buf = append(w.buf, copyHeader...)
	name := "weir"
	for _, l := range []line{{1, &name, true}, {-2, nil, false}} {
		if err := w.append(reflect.ValueOf(&l).Elem()); err != nil {
			t.Fatal(err)
		}
	}
	w.buf = append(w.buf, copyTrailer...)
	const golden = "5047434f50590aff0d0a0000000000000000000003" + "000000080000000000000001" + "0000000477656972" + "0000000101" +
		"0003" + "00000008fffffffffffffffe" + "ffffffff" + "0000000100" + "ffff"
	if got := hex.EncodeToString(w.buf); got != golden {
		t.Errorf("a staged file is now\n%s\nand was\n%s", got, golden)
	}
	const marks = " (job text, sink text, attempt bigint NOT NULL, epoch bigint NOT NULL, nonce text NOT NULL, written timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (job, sink))"
	if epochColumns != marks {
		t.Errorf("the table of marks is now %s; older ones have %s", epochColumns, marks)
	}
}
