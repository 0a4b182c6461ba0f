package file

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

type order struct {
	ID    int64
	Name  string    `csv:"customer name"`
	Price float64   `csv:"price"`
	Paid  bool      `csv:"paid"`
	When  time.Time `csv:"when"`
	Note  *string   `csv:"note"`
	Left  *int32    `csv:"left"`
}

func TestCSV(t *testing.T) {
	note := "says \"hi\",\nleaves"
	left := int32(-3)
	in := "\xef\xbb\xbfid,customer name,price,paid,when,note,left,other\r\n" +
		"1,Ann,1.5,true,2026-01-02T03:04:05Z,,,x\r\n" +
		"\r\n" +
		"2,\"Bob, jr.\",-2e3,false,2026-01-02 03:04:05.5,\"says \"\"hi\"\",\nleaves\",-3,\n" +
		"3,,0,1,2026-01-02,\"\",,"
	want := []order{
		{ID: 1, Name: "Ann", Price: 1.5, Paid: true, When: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
		{ID: 2, Name: "Bob, jr.", Price: -2000, When: time.Date(2026, 1, 2, 3, 4, 5, 5e8, time.UTC), Note: &note, Left: &left},
		{ID: 3, Paid: true, When: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)},
	}
	for _, data := range [][]byte{[]byte(in), gz(t, []byte(in))} {
		for _, block := range []int{1, 8, 1000} {
			r := run[order]{t: t, src: CSV[order](write(t, "in.csv", data), testBlock(block)), max: 1, restart: func() bool { return true }}
			if err := r.all(); err != nil {
				t.Fatal(err)
			}
			if len(r.bad) > 0 || !reflect.DeepEqual(r.values, want) {
				t.Errorf("block %d: got %+v, bad %v", block, r.values, r.bad)
			}
		}
	}
}

type pair struct {
	A int8
	B string
}

func TestCSVBad(t *testing.T) {
	in := "a,b\n" +
		"x,1\n" + // 2
		"300,1\n" +
		"1\n" +
		"1,2,3\n" +
		"1,5\" pipe\n" + // 6
		"1,\"a\"b\n" +
		"1,ok\n" +
		"1,\"open\n" + // 9: closed in line 10, where text follows
		"2,\"next\"\n" +
		"3,\"never closed\n" + // 11
		"4,end\n"
	r := run[pair]{t: t, src: CSV[pair](write(t, "in.csv", []byte(in)), testBlock(4)), max: 1}
	if err := r.all(); err != nil {
		t.Fatal(err)
	}
	if want := []pair{{1, "ok"}, {2, "next"}, {4, "end"}}; !slices.Equal(r.values, want) {
		t.Errorf("got %+v", r.values)
	}
	var got strings.Builder
	for _, b := range r.bad {
		fmt.Fprintf(&got, "%s %q %s\n", filepath.Base(b.Where), b.Raw, b.Reason)
	}
	want := `in.csv:2 "x,1" column "a": "x" is not an integer of 8 bits
in.csv:3 "300,1" column "a": "300" is out of range for an integer of 8 bits
in.csv:4 "1" it has 1 fields, but there are 2 columns
in.csv:5 "1,2,3" it has 3 fields, but there are 2 columns
in.csv:6 "1,5\" pipe" column 2 has a quote within a field that is not quoted
in.csv:7 "1,\"a\"b" column 2 goes on after its closing quote
in.csv:9 "1,\"open" column 2 goes on after its closing quote
in.csv:11 "3,\"never closed" a quote is not closed before the end of the file
`
	if got.String() != want {
		t.Errorf("bad records:\n%swant\n%s", got.String(), want)
	}
}

func TestCSVUnclosedAboveMaxRecord(t *testing.T) {
	in := "a,b\n1,\"open\n" + strings.Repeat("2,two\n", 100) + "3,\"" + strings.Repeat("z", 300) + "\n4,four"
	for _, block := range []int{8, 4096} {
		r := run[pair]{t: t, src: CSV[pair](write(t, "in.csv", []byte(in)), MaxRecord(100), testBlock(block)), max: 3}
		if err := r.all(); err != nil {
			t.Fatal(err)
		}
		if len(r.values) != 101 || r.values[100] != (pair{4, "four"}) || len(r.bad) != 2 {
			t.Errorf("block %d: %d records, bad %v", block, len(r.values), r.bad)
		}
		if !strings.HasSuffix(r.bad[0].Where, ":2") || !strings.HasSuffix(r.bad[1].Where, ":103") {
			t.Errorf("block %d: bad at %s and %s", block, r.bad[0].Where, r.bad[1].Where)
		}
	}
}

func TestCSVRefused(t *testing.T) {
	path := write(t, "in.csv", []byte("a,b\n1,2\n"))
	type chanField struct{ C chan int }
	type twice struct {
		A int
		B int `csv:"A"`
	}
	type missing struct{ A, Z int }
	for _, c := range []struct {
		err  func() error
		want string
	}{
		{func() error { return (&run[chanField]{t: t, src: CSV[chanField](path)}).all() }, "field C of file.chanField is a chan int"},
		{func() error { return (&run[int]{t: t, src: CSV[int](path)}).all() }, "int is not one"},
		{func() error { return (&run[twice]{t: t, src: CSV[twice](path)}).all() }, `both named "A"`},
		{func() error { return (&run[missing]{t: t, src: CSV[missing](path)}).all() }, `no column "Z" for the field Z`},
		{func() error { return (&run[missing]{t: t, src: CSV[missing](path, Columns("a"))}).all() }, `the option Columns names ["a"]`},
		{func() error { return (&run[pair]{t: t, src: CSV[pair](path, Comma('"'))}).all() }, "Comma is '\"'"},
		{func() error { return (&run[pair]{t: t, src: CSV[pair]("")}).all() }, "it is empty"},
	} {
		if err := c.err(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// TestCSVSplitsAndRestarts writes records with the standard library and reads them
// in all ways.
func TestCSVSplitsAndRestarts(t *testing.T) {
	type row struct{ A, B string }
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		single := rapid.Bool().Draw(rt, "single")
		chars := []string{"a", "b,", "\"", "\"\"", "é", " ", "'"}
		if !single {
			chars = append(chars, "\n", "\n\n", "x\ny")
		}
		cell := rapid.Map(rapid.SliceOfN(rapid.SampledFrom(chars), 0, 6), func(s []string) string { return strings.Join(s, "") })
		var in strings.Builder
		w := csv.NewWriter(&in)
		w.UseCRLF = rapid.Bool().Draw(rt, "crlf")
		header := rapid.Bool().Draw(rt, "header")
		opts := []CSVOption{SplitSize(rapid.Int64Range(1, 60).Draw(rt, "split")), testBlock(rapid.IntRange(1, 64).Draw(rt, "block"))}
		if header {
			w.Write([]string{"B", "A"})
		} else {
			opts = append(opts, Columns("B", "A"))
		}
		if single {
			opts = append(opts, SingleLine())
		}
		var want []row
		for range rapid.IntRange(0, 8).Draw(rt, "rows") {
			r := row{cell.Draw(rt, "a"), cell.Draw(rt, "b")}
			w.Write([]string{r.B, r.A})
			if w.UseCRLF {
				// The standard writer makes "\r\n" of a newline in a field.
				r.A, r.B = strings.ReplaceAll(r.A, "\n", "\r\n"), strings.ReplaceAll(r.B, "\n", "\r\n")
			}
			want = append(want, r)
		}
		w.Flush()
		n++
		path := filepath.Join(dir, fmt.Sprint(n))
		if err := os.WriteFile(path, []byte(in.String()), 0o666); err != nil {
			rt.Fatal(err)
		}
		r := run[row]{t: t, src: CSV[row](path, opts...),
			max:     rapid.IntRange(1, 5).Draw(rt, "max"),
			restart: func() bool { return rapid.IntRange(0, 3).Draw(rt, "restart") == 0 },
		}
		if err := r.all(); err != nil {
			rt.Fatal(err)
		}
		if !slices.Equal(r.values, want) || len(r.bad) > 0 {
			rt.Fatalf("got %q, want %q, bad %v", r.values, want, r.bad)
		}
	})
}

// FuzzCSV: the reader reads what the standard library reads, and what that
// refuses it refuses too; and it never panics, nor loses a line.
func FuzzCSV(f *testing.F) {
	for _, s := range []string{"a,b\n", "\"a\nb\",c\r\n", "a\"b,c\n\"x\ny,z", "\"\"\"\",\n", "a,\"b\"c\n1,2\n"} {
		f.Add([]byte(s), uint8(3))
	}
	type row struct{ A, B string }
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, in []byte, block uint8) {
		path := filepath.Join(dir, "in")
		if err := os.WriteFile(path, in, 0o666); err != nil {
			t.Fatal(err)
		}
		r := run[row]{t: t, src: CSV[row](path, Columns("A", "B"), testBlock(int(block)+1), MaxRecord(1000)), max: 3, restart: func() bool { return true }}
		if err := r.all(); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(in), "\r") || strings.HasPrefix(string(in), string(mark)) || len(in) > 900 {
			return // the library treats lone carriage returns and marks otherwise
		}
		if strings.HasPrefix(string(in), "\x1f\x8b") || strings.Contains(string(in), "\x28\xb5\x2f\xfd") || strings.Contains(string(in), "\x2a\x4d\x18") {
			return
		}
		std := csv.NewReader(strings.NewReader(string(in)))
		std.FieldsPerRecord = 2
		rows, err := std.ReadAll()
		if (err == nil) != (len(r.bad) == 0) {
			t.Fatalf("library: %v; here: %v", err, r.bad)
		}
		if err != nil {
			return
		}
		var want []row
		for _, s := range rows {
			want = append(want, row{s[0], s[1]})
		}
		if !slices.Equal(r.values, want) {
			t.Fatalf("got %q, want %q", r.values, want)
		}
	})
}
