package file

import (
	"fmt"

	"github.com/vmihailenco/msgpack/v5"
	"github.com/weirflow/weir/operator"
)

// part of a file, and how far it has been read. It is stored in checkpoints as
// operator.Split.Data, a msgpack map; docs/format/file.md describes it.
type splitData struct {
	Path string `msgpack:"path"`
	// Start and End bound the split. They count bytes, but row groups in Parquet
	// files. A record belongs to the split in which it begins.
	Start int64 `msgpack:"start"`
	End   int64 `msgpack:"end"`
	// Size and ModTime (Unix nanoseconds) are the file's when it was found.
	Size    int64 `msgpack:"size"`
	ModTime int64 `msgpack:"mtime"`
	// Work is operator.Split.Size, as it was when the split was found.
	Work int64 `msgpack:"work"`
	// At is where to go on; At.Started is false in a split nobody has read of.
	At position `msgpack:"at"`
}

// position is the place after the last record that was returned.
type position struct {
	Started bool `msgpack:"started,omitempty"`
	// Offset counts bytes of the file, uncompressed bytes if it is compressed: the
	// beginning of the next line, or of the current Avro block. Parquet has none.
	Offset int64 `msgpack:"offset,omitempty"`
	// Row is the number of records of the current Avro block, or rows of a Parquet
	// split, that were returned.
	Row int64 `msgpack:"row,omitempty"`
	// Lost says that an Avro block has to be searched for from Offset on.
	Lost bool `msgpack:"lost,omitempty"`
	// Line counts the lines (in Avro: records) of the split so far, for messages.
	Line int64 `msgpack:"line,omitempty"`
	// Read is the part of Work that is done.
	Read int64 `msgpack:"read,omitempty"`
}

// whole reports whether the split is the whole file.
func (d *splitData) whole() bool { return d.Start == 0 && d.End == d.Size }

// split makes the engine's form.
func (d *splitData) split(id string) (operator.Split, error) {
	b, err := msgpack.Marshal(d)
	if err != nil {
		return operator.Split{}, fmt.Errorf("file: encoding the split %q: %w", id, err)
	}
	return operator.Split{ID: id, Data: b, Size: d.Work}, nil
}

// decodeSplit reads what split wrote. Data comes from a checkpoint, so nothing in
// it is believed.
func decodeSplit(s operator.Split) (splitData, error) {
	var d splitData
	if err := msgpack.Unmarshal(s.Data, &d); err != nil {
		return d, fmt.Errorf("file: the saved position of split %q cannot be read: %w", s.ID, err)
	}
	switch {
	case d.Path == "":
		return d, fmt.Errorf("file: the saved position of split %q names no file", s.ID)
	case d.Start < 0 || d.End < d.Start || d.Size < 0 || d.Work < 0 || d.At.Offset < 0 || d.At.Row < 0 || d.At.Line < 0:
		return d, fmt.Errorf("file: the saved position of split %q makes no sense: bytes %d to %d of %d, at %+v",
			s.ID, d.Start, d.End, d.Size, d.At)
	}
	return d, nil
}
