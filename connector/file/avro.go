package file

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"reflect"

	"github.com/twmb/avro"
	"github.com/twmb/avro/ocf"

	"github.com/weirflow/weir/operator"
)

// Avro reads Avro object container files into T, which is usually a struct: fields
// are matched by name or by the tag `avro:"name"`. The schema is the file's; fields
// of it that T lacks are passed over, and fields of T that it lacks stay zero.
// Codecs: null, deflate, snappy, zstandard.
//
// Large files are cut at any byte: a part begins with the first block whose sync
// marker lies in it. A record that cannot be decoded is bad, and takes the rest of
// its block with it, since nobody knows where the next one begins.
func Avro[T any](path string, opts ...AvroOption) operator.Source[T] {
	var set settings
	for _, o := range opts {
		o.avro(&set)
	}
	s := newSource[T]("avro", path, set)
	s.plan = planUncompressed
	names, err := avroNames[T]()
	if s.err == nil {
		s.err = err
	}
	s.open = func(in *input, d splitData, env *environment) (cursor[T], error) {
		return openAvro[T](in, d, env, names)
	}
	return s
}

// planUncompressed cuts without looking at the file: its format is not compressed
// as a whole.
func planUncompressed(_ fileSystem, f found, set *settings) ([]extent, error) {
	return even(f.size, max(f.size/set.splitSize, 1)), nil
}

// aliasInput lets decoded values be parts of the block.
var aliasInput = avro.AliasInput()

// maxAvroBlock bounds a block, as stored and unpacked.
const maxAvroBlock = 64 << 20

// avroCursor reads blocks. A block belongs to the split in which the sync marker
// before it begins; the header ends with one.
type avroCursor[T any] struct {
	in     *avroInput
	d      splitData
	env    *environment
	schema *avro.Schema
	codec  avroCodec
	sync   [16]byte
	end    int64 // a marker at or after it is the next split's

	mark   int64 // of the marker before the current block
	next   int64 // of the marker after it
	block  []byte
	count  int64 // records of the block
	row    int64 // those that were returned, or given up
	record int64 // number of the last record in the split
	loaded bool
	lost   bool // the marker has to be searched for from mark on
}

// avroNames are the fields of the struct T by their names in Avro, nil if it is no
// struct.
func avroNames[T any]() (map[string]bool, error) {
	t := reflect.TypeFor[T]()
	if t.Kind() != reflect.Struct {
		return nil, nil
	}
	s, err := avro.SchemaFor[T]()
	if err != nil {
		return nil, fmt.Errorf("file: Avro cannot hold %s: %w", t, err)
	}
	names := map[string]bool{}
	for _, f := range s.Root().Fields {
		names[f.Name] = true
	}
	return names, nil
}

// project makes a schema that reads only the fields that names holds of records
// written by schema w.
func project(w *avro.Schema, names map[string]bool, path string) (*avro.Schema, error) {
	root := w.Root()
	if names == nil || root.Type != "record" {
		return w, nil
	}
	var keep []avro.SchemaField
	var all []string
	for _, f := range root.Fields {
		all = append(all, f.Name)
		if names[f.Name] {
			keep = append(keep, f)
		}
	}
	switch {
	case len(keep) == len(root.Fields):
		return w, nil
	case len(keep) == 0:
		return nil, fmt.Errorf("file: %s has the fields %q, and the record type has none of them; name them in tags `avro:\"...\"`", path, all)
	}
	root.Fields = keep
	r, err := root.Schema()
	if err == nil {
		r, err = avro.Resolve(w, r)
	}
	if err != nil {
		return nil, fmt.Errorf("file: choosing the fields to read of %s: %w", path, err)
	}
	return r, nil
}

func openAvro[T any](in *input, d splitData, env *environment, names map[string]bool) (cursor[T], error) {
	c := &avroCursor[T]{in: &avroInput{in: in}, d: d, env: env, end: d.End, record: d.At.Line}
	if d.End == d.Size {
		c.end = noEnd
	}
	schema, codec, after, err := c.header()
	if err != nil {
		return nil, err
	}
	if c.schema, err = avro.Parse(string(schema)); err != nil {
		return nil, fmt.Errorf("%w: the Avro schema in the header: %w", errCorrupt, err)
	}
	if c.schema, err = project(c.schema, names, d.Path); err != nil {
		return nil, err
	}
	if c.codec, err = avroCodecOf(codec); err != nil {
		return nil, err
	}
	switch {
	case d.At.Started:
		c.mark, c.row, c.lost = d.At.Offset, d.At.Row, d.At.Lost
	case d.Start == 0:
		c.mark = after - int64(len(c.sync))
	default:
		c.mark, c.lost = d.Start, true
	}
	return c, nil
}

// avroCodec unpacks a block.
type avroCodec interface {
	ocf.Codec
	ocf.BoundedDecompressor
}

func avroCodecOf(name string) (avroCodec, error) {
	switch name {
	case "", "null":
		return nil, nil
	case "deflate":
		return ocf.DeflateCodec(flate.DefaultCompression).(avroCodec), nil
	case "snappy":
		return ocf.SnappyCodec().(avroCodec), nil
	case "zstandard":
		z, err := ocf.ZstdCodec(nil, nil)
		if err != nil {
			return nil, fmt.Errorf("file: making a zstd decoder: %w", err)
		}
		return z.(avroCodec), nil
	}
	return nil, fmt.Errorf("%w: the Avro codec %q is not known; null, deflate, snappy and zstandard are", errCorrupt, operator.Excerpt(name, 40))
}

func (c *avroCursor[T]) read(into *operator.Records[T], max int) (bool, error) {
	if c.lost {
		if done, err := c.search(); err != nil || done {
			return done, err
		}
	}
	if !c.loaded {
		if c.mark >= c.end {
			return true, nil
		}
		if done, err := c.load(); err != nil || done {
			return done, c.tolerate(err)
		}
	}
	for len(into.Values) < max && c.row < c.count {
		n := len(into.Values)
		var zero T
		into.Values = append(into.Values, zero)
		c.record++
		rest, err := decodeAvro(c.schema, c.block, &into.Values[n])
		if err != nil {
			into.Values[n] = zero
			into.Values = into.Values[:n]
			err = c.env.bad(c.where(), c.block, fmt.Sprintf("%v; the %d records of the block from this one on are not read", err, c.count-c.row))
			c.row, c.block = c.count, nil
			if err != nil {
				return false, err
			}
			break
		}
		c.block = rest
		c.row++
	}
	if c.row < c.count {
		return false, nil
	}
	if rest := c.block; len(rest) > 0 {
		c.block = nil
		if err := c.env.bad(c.where(), rest, fmt.Sprintf("the block goes on for %d bytes after its last record", len(rest))); err != nil {
			return false, err
		}
	}
	c.mark, c.row, c.loaded, c.block = c.next, 0, false, nil
	return false, nil
}

// decodeAvro reads one record. What it holds of strings and bytes are parts of the
// block, which is never written again.
func decodeAvro(s *avro.Schema, block []byte, v any) (rest []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("decoder panicked: %v", r)
		}
	}()
	return s.Decode(block, v, aliasInput)
}

// load reads the block after the marker at mark. done at the end of the file.
func (c *avroCursor[T]) load() (done bool, err error) {
	at := c.mark + int64(len(c.sync))
	if at == c.d.Size {
		return true, nil
	}
	head, err := c.in.peek(at, 20)
	if err != nil {
		return false, err
	}
	count, n := avroLong(head)
	size, m := avroLong(head[max(n, 0):])
	switch {
	case n <= 0 || m <= 0 || count < 0 || size < 0:
		return false, fmt.Errorf("%w: no Avro block begins at byte %d", errCorrupt, at)
	case size > maxAvroBlock:
		return false, fmt.Errorf("%w: the Avro block at byte %d has %d bytes, more than %d", errCorrupt, at, size, maxAvroBlock)
	case size == 0 && count > 1<<20:
		return false, fmt.Errorf("%w: the Avro block at byte %d has %d records in no bytes", errCorrupt, at, count)
	}
	body := at + int64(n+m)
	c.next = body + size
	if c.next+int64(len(c.sync)) > c.d.Size {
		return false, fmt.Errorf("%w: the Avro block at byte %d is cut off: it should end at byte %d, and the file has %d; was the file copied completely?",
			errCorrupt, at, c.next+int64(len(c.sync)), c.d.Size)
	}
	block := make([]byte, size+int64(len(c.sync)))
	if err := c.in.full(block, body); err != nil {
		return false, err
	}
	if !bytes.Equal(block[size:], c.sync[:]) {
		return false, fmt.Errorf("%w: the Avro block at byte %d does not end with the file's sync marker", errCorrupt, at)
	}
	c.block = block[:size:size]
	if c.codec != nil {
		if c.block, err = c.codec.DecompressBounded(c.block, maxAvroBlock); err != nil {
			return false, fmt.Errorf("%w: the Avro block at byte %d cannot be unpacked (%s): %w", errCorrupt, at, c.codec.Name(), err)
		}
	}
	c.count, c.loaded = count, true
	// Go on within the block, if it was left there.
	for i := int64(0); i < min(c.row, c.count) && len(c.block) > 0; i++ {
		var skipped T
		rest, err := decodeAvro(c.schema, c.block, &skipped)
		if err != nil {
			return false, fmt.Errorf("%w: record %d of the Avro block at byte %d: %w", errCorrupt, i+1, at, err)
		}
		c.block = rest
	}
	return false, nil
}

// tolerate hands over what is wrong with a block. If the policy lets it pass,
// reading goes on behind the next marker.
func (c *avroCursor[T]) tolerate(err error) error {
	if !errors.Is(err, errCorrupt) {
		return err
	}
	if cerr := c.in.in.check(c.mark); cerr != nil {
		return cerr
	}
	raw, _ := c.in.peek(c.mark+int64(len(c.sync)), operator.MaxBadRaw)
	if err := c.env.bad(c.where(), raw, err.Error()+"; reading goes on at the next block that can be found"); err != nil {
		return err
	}
	c.mark, c.row, c.loaded, c.lost = c.mark+1, 0, false, true
	return nil
}

// search finds the first marker at or after mark. done if it is not this split's.
func (c *avroCursor[T]) search() (done bool, err error) {
	const window = 64 << 10
	for step := 0; step < skipStep/window; step++ {
		if c.mark >= c.end || c.mark+int64(len(c.sync)) > c.d.Size {
			c.mark = min(c.end, c.d.Size)
			return true, nil
		}
		buf, err := c.in.peek(c.mark, window)
		if err != nil {
			return false, err
		}
		if i := bytes.Index(buf, c.sync[:]); i >= 0 {
			c.mark += int64(i)
			c.lost = false
			return c.mark >= c.end, nil
		}
		c.mark += int64(max(len(buf)-len(c.sync)+1, 1))
	}
	return false, nil
}

func (c *avroCursor[T]) where() string {
	if c.d.Start == 0 {
		return fmt.Sprintf("%s: record %d (block at byte %d)", c.d.Path, c.record, c.mark+int64(len(c.sync)))
	}
	return fmt.Sprintf("%s: block at byte %d, record %d of the part that begins at byte %d", c.d.Path, c.mark+int64(len(c.sync)), c.record, c.d.Start)
}

func (c *avroCursor[T]) position() position {
	return position{
		Started: !c.lost || c.mark > c.d.Start, Offset: c.mark, Row: c.row, Line: c.record, Lost: c.lost,
		Read: min(max(c.mark-c.d.Start, 0), c.d.End-c.d.Start),
	}
}

func (c *avroCursor[T]) close() error {
	if c.codec != nil {
		return c.codec.Close()
	}
	return nil
}
