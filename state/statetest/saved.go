package statetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/weirflow/weir/state"
)

// Kept is the files of a snapshot, kept in memory. It is a state.Files and a
// state.SavedFiles.
type Kept struct {
	names []string
	files map[string][]byte
}

// Create begins a file.
func (k *Kept) Create(name string) (io.WriteCloser, error) {
	if _, twice := k.files[name]; twice {
		return nil, fmt.Errorf("file %q is written twice", name)
	}
	return &keptFile{k: k, name: name}, nil
}

type keptFile struct {
	bytes.Buffer
	k    *Kept
	name string
}

func (f *keptFile) Close() error { f.k.put(f.name, f.Bytes()); return nil }

func (k *Kept) put(name string, data []byte) {
	if k.files == nil {
		k.files = map[string][]byte{}
	}
	k.names = append(k.names, name)
	k.files[name] = data
}

// Link reads a file.
func (k *Kept) Link(name, path string) error {
	data, err := os.ReadFile(path)
	if err == nil {
		k.put(name, data)
	}
	return err
}

// Names lists the files.
func (k *Kept) Names() []string { return slices.Clone(k.names) }

// Open reads a file.
func (k *Kept) Open(_ context.Context, name string) (io.ReadCloser, error) {
	data, ok := k.files[name]
	if !ok {
		return nil, fmt.Errorf("there is no file %q", name)
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// Fetch writes a file.
func (k *Kept) Fetch(_ context.Context, name, path string) error {
	data, ok := k.files[name]
	if !ok {
		return fmt.Errorf("there is no file %q", name)
	}
	return os.WriteFile(path, data, 0o666)
}

// Save writes all that a store holds. It works off what the store puts off, as its
// task would.
func Save(s state.Store, form state.Form) (state.Saved, error) {
	z, err := s.Freeze(form)
	if err != nil {
		return state.Saved{}, err
	}
	defer z.Close()
	kept := &Kept{}
	done := make(chan error, 1)
	stepped := make(chan struct{}, 1)
	s.Notify(func() {
		select {
		case stepped <- struct{}{}:
		default:
		}
	})
	go func() { done <- z.Write(context.Background(), kept) }()
	for {
		for s.Step() {
		}
		select {
		case err := <-done:
			return state.Saved{Form: z.Form(), KeyGroups: s.KeyGroups(), Files: kept}, err
		case <-stepped:
		}
	}
}

// save is Save in the portable form, as its one file.
func save(s state.Store) ([]byte, error) {
	saved, err := Save(s, state.FormPortable)
	if err != nil {
		return nil, err
	}
	k := saved.Files.(*Kept)
	if len(k.names) != 1 {
		return nil, fmt.Errorf("the portable form has the files %q, not one", k.names)
	}
	return k.files[k.names[0]], s.Err()
}

// load restores snapshots of the portable form.
func load(s state.Store, parts ...[]byte) error {
	var from []state.Saved
	for _, p := range parts {
		k := &Kept{}
		k.put("state", p)
		from = append(from, state.Saved{Form: state.FormPortable, KeyGroups: all(s.MaxParallelism()), Files: k})
	}
	return s.Restore(context.Background(), from)
}
