package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/state"
	"github.com/weirflow/weir/state/portable"
)

// rowsAtOnce is how many rows are handed to the library together, groupBytes how large
// a row group becomes.
const (
	rowsAtOnce = 1024
	groupBytes = 16 << 20
)

// parquet writes the entries of one state as a Parquet file. Tasks may have stored it
// under different schemas only if the program was changed between epochs, which
// a checkpoint never mixes.
func (s *stateSource) parquet(ctx context.Context, wanted func(operator, name string) bool, chosen *stateLine, w io.Writer) error {
	if chosen.Schema == nil {
		return fmt.Errorf("the schema of the state %q of %s cannot be read", chosen.Name, chosen.Operator)
	}
	st := state.Stored{Schema: *chosen.Schema}
	st.Descriptor.Name, st.Descriptor.Kind = chosen.Name, chosen.Schema.Kind
	j, err := newEntryJSON(st, codec.JSONTable)
	if err != nil {
		return err
	}
	p, err := newParquetFile(w, j.columns())
	if err != nil {
		return err
	}
	defer p.rows.Release()
	var row []byte
	err = s.each(ctx, wanted, func(got *state.Stored, e portable.Entry) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !got.Schema.Value.Same(st.Schema.Value) || !got.Schema.Key.Same(st.Schema.Key) || !got.Schema.Namespace.Same(st.Schema.Namespace) {
			return errors.New("the tasks have stored it with different types; export it as JSON Lines")
		}
		if row, _, err = j.append(append(row[:0], '{'), e); err != nil {
			return err
		}
		row = append(row, '}')
		return p.add(row)
	})
	return errors.Join(err, p.finish())
}

// columns are those of the state's entries.
func (j *entryJSON) columns() []arrow.Field {
	c := []arrow.Field{{Name: "key_group", Type: arrow.PrimitiveTypes.Int32}}
	if j.timed {
		c = append(c, arrow.Field{Name: "time", Type: arrow.FixedWidthTypes.Timestamp_us, Nullable: true})
	}
	c = append(c, arrow.Field{Name: "key", Type: columnType(&j.st.Schema.Key)})
	if j.part != nil {
		c = append(c, arrow.Field{Name: j.partName, Type: columnType(&j.partType), Nullable: true})
	}
	if j.expires {
		c = append(c, arrow.Field{Name: "expires", Type: arrow.FixedWidthTypes.Timestamp_us, Nullable: true})
	}
	if j.value != nil {
		c = append(c, arrow.Field{Name: "value", Type: columnType(&j.valueType), Nullable: true})
	}
	return c
}

// columnType is the type of a column for values that codec.JSONTable writes.
func columnType(s *codec.Schema) arrow.DataType {
	if s == nil || s.Text() {
		return arrow.BinaryTypes.String
	}
	switch s.Kind {
	case codec.KindStruct:
		fields := make([]arrow.Field, len(s.Fields))
		for i := range s.Fields {
			fields[i] = arrow.Field{Name: s.Fields[i].Name, Type: columnType(&s.Fields[i].Type), Nullable: true}
		}
		return arrow.StructOf(fields...)
	case codec.KindPointer:
		return columnType(s.Elem)
	case codec.KindSlice, codec.KindArray:
		return arrow.ListOf(columnType(s.Elem))
	case codec.KindMap:
		key, value := columnType(s.Key), columnType(s.Elem)
		if id := key.ID(); id == arrow.FLOAT32 || id == arrow.FLOAT64 {
			// A NaN is null, which the key of a map may not be.
			return arrow.ListOf(arrow.StructOf(arrow.Field{Name: "key", Type: key, Nullable: true},
				arrow.Field{Name: "value", Type: value, Nullable: true}))
		}
		return arrow.MapOf(key, value)
	case codec.KindBytes, codec.KindByteArray:
		return arrow.BinaryTypes.Binary
	case codec.KindTime:
		return arrow.FixedWidthTypes.Timestamp_us
	}
	if t := scalarColumns[s.Kind]; t != nil {
		return t
	}
	return arrow.BinaryTypes.String
}

var scalarColumns = map[codec.Kind]arrow.DataType{
	codec.KindBool: arrow.FixedWidthTypes.Boolean,
	codec.KindInt8: arrow.PrimitiveTypes.Int8, codec.KindInt16: arrow.PrimitiveTypes.Int16,
	codec.KindInt32: arrow.PrimitiveTypes.Int32, codec.KindInt64: arrow.PrimitiveTypes.Int64,
	codec.KindUint8: arrow.PrimitiveTypes.Uint8, codec.KindUint16: arrow.PrimitiveTypes.Uint16,
	codec.KindUint32: arrow.PrimitiveTypes.Uint32, codec.KindUint64: arrow.PrimitiveTypes.Uint64,
	codec.KindFloat32: arrow.PrimitiveTypes.Float32, codec.KindFloat64: arrow.PrimitiveTypes.Float64,
	codec.KindString: arrow.BinaryTypes.String,
}

// parquetFile writes rows that come as JSON.
type parquetFile struct {
	file *pqarrow.FileWriter
	rows *array.RecordBuilder
	n    int
}

func newParquetFile(w io.Writer, columns []arrow.Field) (*parquetFile, error) {
	schema := arrow.NewSchema(columns, nil)
	file, err := pqarrow.NewFileWriter(schema, w,
		parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Snappy), parquet.WithCreatedBy("weir")),
		pqarrow.DefaultWriterProps())
	if err != nil {
		return nil, fmt.Errorf("beginning a Parquet file: %w", err)
	}
	return &parquetFile{file: file, rows: array.NewRecordBuilder(memory.DefaultAllocator, schema)}, nil
}

func (p *parquetFile) add(row []byte) error {
	if err := p.rows.UnmarshalJSON(row); err != nil {
		return fmt.Errorf("an entry as a Parquet row: %w", err)
	}
	if p.n++; p.n%rowsAtOnce == 0 {
		return p.flush()
	}
	return nil
}

func (p *parquetFile) flush() error {
	rec := p.rows.NewRecordBatch()
	defer rec.Release()
	if err := p.file.WriteBuffered(rec); err != nil {
		return fmt.Errorf("writing Parquet columns: %w", err)
	}
	if p.file.RowGroupTotalBytesWritten() >= groupBytes {
		if err := p.file.NewBufferedRowGroupChecked(); err != nil {
			return fmt.Errorf("ending a Parquet row group: %w", err)
		}
	}
	return nil
}

func (p *parquetFile) finish() error {
	if err := p.flush(); err != nil {
		return err
	}
	if err := p.file.Close(); err != nil {
		return fmt.Errorf("ending a Parquet file: %w", err)
	}
	return nil
}
