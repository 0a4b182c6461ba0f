package file

import (
	"compress/flate"
	"fmt"
	"io"
	"reflect"

	"github.com/klauspost/compress/zstd"
	"github.com/twmb/avro"
	"github.com/twmb/avro/ocf"
)

// AvroSink writes structs to Avro object container files in the folder dir. The
// schema is that of the struct: its tags (`avro:"name,timestamp-micros"`) are those
// of github.com/twmb/avro. A time.Time has milliseconds if its tag does not say
// otherwise.
func AvroSink[T any](dir string, opts ...SinkOption) *Sink[T] {
	set := sinkOptions(opts)
	s := newSink[T]("avro", dir, ".avro", set)
	schema, err := avro.SchemaFor[T]()
	if err != nil && s.err == nil {
		s.err = fmt.Errorf("file: Avro cannot hold %s: %w", reflect.TypeFor[T](), err)
	}
	s.encoder = func(w io.Writer) (encoder[T], error) {
		var opts []ocf.WriterOpt
		switch set.codec {
		case Gzip:
			opts = append(opts, ocf.WithCodec(ocf.DeflateCodec(flate.BestSpeed)))
		case Zstd:
			c, err := ocf.ZstdCodec([]zstd.EOption{zstd.WithEncoderLevel(zstd.SpeedFastest)}, nil)
			if err != nil {
				return nil, fmt.Errorf("making a zstd encoder: %w", err)
			}
			opts = append(opts, ocf.WithCodec(c))
		}
		ow, err := ocf.NewWriter(w, schema, opts...)
		if err != nil {
			return nil, fmt.Errorf("writing the Avro header: %w", err)
		}
		return &avroEncoder[T]{ow}, nil
	}
	return s
}

type avroEncoder[T any] struct{ w *ocf.Writer }

func (e *avroEncoder[T]) encode(v *T) error { return e.w.Encode(v) }

// buffered is at most a block of 64 KB, which is not worth counting.
func (e *avroEncoder[T]) buffered() int64 { return 0 }

func (e *avroEncoder[T]) finish() error { return e.w.Close() }
