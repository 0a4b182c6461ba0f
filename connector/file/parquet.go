package file

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	parquetfile "github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/weirflow/weir/operator"
)

// Parquet reads Parquet files into structs. A column goes to the field with the
// tag `parquet:"name"` or of that name, in any case of letters; only the columns
// that have a field are read. A field without a column is an error unless it is a
// pointer. Fields are flat: numbers, bool, string, []byte, time.Time (of timestamps
// and dates) and pointers to them, which are nil for null; other fields are zero
// for null. A number may be read into a wider type, not into a narrower one.
//
// The parts of a large file are runs of its row groups.
func Parquet[T any](path string, opts ...ParquetOption) operator.Source[T] {
	var set settings
	for _, o := range opts {
		o.parquet(&set)
	}
	s := newSource[T]("parquet", path, set)
	s.plan = planRowGroups
	fields, err := fieldsOf[T]("Parquet", "parquet")
	if s.err == nil {
		s.err = err
	}
	s.open = func(in *input, d splitData, env *environment) (cursor[T], error) {
		return openParquet[T](in, d, env, fields)
	}
	return s
}

// planRowGroups makes splits of runs of row groups with about SplitSize bytes.
func planRowGroups(fsys fileSystem, f found, set *settings) ([]extent, error) {
	if f.size < 2*set.splitSize {
		// Its footer need not be read here; the reader takes what row groups there are.
		return []extent{{0, allGroups, f.size}}, nil
	}
	in, err := fsys.Open(f.path)
	if err != nil {
		return nil, external(true, fmt.Errorf("file: opening %s to see its row groups: %w", f.path, err))
	}
	defer in.Close()
	var parts []extent
	err = guard(func() error {
		r, err := parquetfile.NewParquetReader(in)
		if err != nil {
			return err
		}
		meta := r.MetaData()
		p := extent{}
		for i := range r.NumRowGroups() {
			p.end, p.work = int64(i+1), p.work+max(meta.RowGroup(i).TotalByteSize(), 1)
			if p.work >= set.splitSize {
				parts = append(parts, p)
				p = extent{start: p.end, end: p.end}
			}
		}
		if p.end > p.start {
			parts = append(parts, p)
		}
		return nil
	})
	if err != nil {
		// The reader finds the same, and tells it as a bad record.
		return []extent{{0, allGroups, f.size}}, nil
	}
	return parts, nil
}

// allGroups is the end of a split that takes all row groups of its file.
const allGroups = int64(1) << 31

// rowsPerRead bounds the rows that are decoded at once.
const rowsPerRead = 4096

// parquetCursor reads a run of row groups.
type parquetCursor[T any] struct {
	d       splitData
	env     *environment
	rows    pqarrow.RecordReader
	fillers []filler // by column of a batch
	total   int64    // rows of the split
	row     int64    // rows returned
	batch   arrow.RecordBatch
	at      int // rows of batch that were returned
}

func openParquet[T any](in *input, d splitData, env *environment, fields []field) (cursor[T], error) {
	mem, ok := env.set.testing.allocator.(memory.Allocator)
	if !ok {
		mem = memory.DefaultAllocator
	}
	c := &parquetCursor[T]{d: d, env: env, row: d.At.Row}
	err := guard(func() error { return c.open(in, mem, fields) })
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *parquetCursor[T]) open(in *input, mem memory.Allocator, fields []field) error {
	props := parquet.NewReaderProperties(mem)
	props.BufferedStreamEnabled = true
	props.BufferSize = 256 << 10
	// The reader closes what it reads, and the split's file is not its own.
	r, err := parquetfile.NewParquetReader(unclosed{in}, parquetfile.WithReadProps(props))
	if err != nil {
		return err
	}
	fr, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{BatchSize: rowsPerRead}, mem)
	if err != nil {
		return err
	}
	schema, err := fr.Schema()
	if err != nil {
		return err
	}
	columns, err := matchParquet(schema, r.MetaData().Schema, fields, c.d.Path)
	if err != nil {
		return err
	}
	var groups []int
	for i := c.d.Start; i < min(c.d.End, int64(r.NumRowGroups())); i++ {
		groups = append(groups, int(i))
		c.total += r.RowGroup(int(i)).NumRows()
	}
	if len(groups) == 0 || c.total == 0 {
		c.total = 0
		return nil
	}
	var leaves []int
	for _, col := range columns {
		leaves = append(leaves, col.leaf)
	}
	if c.rows, err = fr.GetRecordReader(context.Background(), leaves, groups); err != nil {
		return err
	}
	// The reader may give the columns in the file's order.
	c.fillers = make([]filler, c.rows.Schema().NumFields())
	for _, col := range columns {
		i := c.rows.Schema().FieldIndices(col.name)
		if len(i) != 1 {
			return fmt.Errorf("the column %q is there %d times", col.name, len(i))
		}
		c.fillers[i[0]] = col.fill
	}
	if c.row > 0 && c.row < c.total {
		return c.rows.SeekToRow(c.row)
	}
	return nil
}

// unclosed keeps Close from the Parquet reader.
type unclosed struct{ *input }

func (unclosed) Close() error { return nil }

func (c *parquetCursor[T]) read(into *operator.Records[T], max int) (bool, error) {
	if c.row >= c.total {
		return true, nil
	}
	if c.batch == nil {
		if err := guard(c.next); err != nil {
			return false, err
		}
	}
	n := min(int(c.batch.NumRows())-c.at, max)
	from := len(into.Values)
	into.Values = grow(into.Values, n)
	if err := guard(func() error { return c.fill(into.Values[from:]) }); err != nil {
		clear(into.Values[from:])
		into.Values = into.Values[:from]
		return false, err
	}
	c.at += n
	c.row += int64(n)
	if c.at == int(c.batch.NumRows()) {
		c.batch, c.at = nil, 0
	}
	return c.row >= c.total, nil
}

// grow appends n zero values.
func grow[T any](s []T, n int) []T {
	for range n {
		var zero T
		s = append(s, zero)
	}
	return s
}

// next decodes a batch. The one before it is no longer good.
func (c *parquetCursor[T]) next() error {
	if !c.rows.Next() {
		if err := c.rows.Err(); err != nil {
			return err
		}
		return fmt.Errorf("it ends after %d of %d rows", c.row, c.total)
	}
	c.batch, c.at = c.rows.RecordBatch(), 0
	if c.batch.NumRows() == 0 {
		return fmt.Errorf("a batch without rows after %d of %d", c.row, c.total)
	}
	return nil
}

func (c *parquetCursor[T]) where() string {
	return fmt.Sprintf("%s: row %d from row group %d on", c.d.Path, c.row, c.d.Start)
}

func (c *parquetCursor[T]) position() position {
	p := position{Started: true, Row: c.row, Line: c.row, Read: c.d.Work}
	if c.total > 0 {
		p.Read = int64(float64(c.d.Work) * (float64(c.row) / float64(c.total)))
	}
	return p
}

func (c *parquetCursor[T]) close() error {
	if c.rows == nil {
		return nil
	}
	return guard(func() error { c.rows.Release(); c.rows, c.batch = nil, nil; return nil })
}

// guard runs f, which calls the Parquet library. A file that makes it fail or
// panic is corrupt, unless the disk is to blame or the types do not fit.
func guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: the Parquet file cannot be decoded: %v", errCorrupt, r)
		}
	}()
	err = f()
	var failure interface{ Text() string } // flow.Failure
	if err == nil || errors.As(err, &failure) || errors.Is(err, errMismatch) {
		return err
	}
	return fmt.Errorf("%w: the Parquet file cannot be read: %w", errCorrupt, err)
}
