// Package codec turns values of Go types into msgpack and back. It is the wire
// format between tasks and the format in which state is stored; the page
// docs/format/msgpack.md describes the bytes.
//
// A [Codec] is compiled once per type, by [For]. Compiling walks the type by
// reflection and leaves a tree of nodes: what to do, at which offset of the
// value. Encoding and decoding then walk that tree over plain memory, with one
// switch for each field and no reflection, interface value or allocation.
//
// Words:
//
//   - array form: a struct as an array of its fields in declared order. Compact;
//     the reader must know the fields. [Codec.Append] writes it.
//   - named form: a struct as a map from field name to value. Any reader can read
//     it. [Codec.AppendNamed] writes it. Decoding takes both forms, mixed even.
//   - schema: the shape of a type as data ([Schema]), sent once per connection and
//     stored once per snapshot. [Codec.Reading] makes a codec that reads array
//     form that was written by another version of the type, by field name.
//
// Invariants:
//
//  1. A type of which a part could not be carried over is refused when it is
//     compiled, with an error that names the type and the path of the field.
//     Nothing of a value is left out silently.
//  2. What is encoded decodes to an equal value, with three exceptions that the
//     format page names: a time.Time keeps its instant and loses its location and
//     monotonic reading, pointers to one value become pointers to copies, and
//     omitempty in named form turns an empty slice into a nil one.
//  3. Decoding arbitrary bytes never panics, never reads beyond them, and never
//     allocates more than a multiple of their length that depends on the type only.
//  4. A decoded value shares no memory with the bytes it came from, nor with the
//     value that was there before.
//
// A Codec is immutable and may be used by any number of goroutines at once.
package codec
