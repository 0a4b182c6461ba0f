package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/term"
)

// binary is a program to run: one that is there, or one to be built.
//
// What is built is kept: <user cache>/weir/build/<hash>/<name>, one folder for each
// package or file. The go command itself looks whether that is still what the
// sources say, and links again only if it is not. The file "lock" in the folder is
// held from before the build until the program has been started, so that nobody
// writes to it meanwhile.
type binary struct {
	given string // as the user named it
	path  string // absolute, of the program
	// pkg is what to build, seen from dir; "" if nothing is to be built.
	pkg, dir string
	locked   *os.File
}

// unused is how long a program that nobody runs is kept.
const unused = 30 * 24 * time.Hour

// find tells what the user named.
func find(given string) (*binary, error) {
	info, err := os.Stat(given)
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			return nil, misuse("%w", err)
		}
		if strings.HasSuffix(given, ".go") || filepath.IsAbs(given) || strings.HasPrefix(given, ".") {
			return nil, misuse("there is no package, file or program %q", given)
		}
		return newBuild(given, given, "") // an import path, perhaps
	}
	abs, err := filepath.Abs(given)
	if err != nil {
		return nil, err
	}
	switch {
	case info.IsDir():
		return newBuild(given, abs, abs)
	case strings.HasSuffix(given, ".go"):
		return newBuild(given, abs, filepath.Dir(abs))
	case info.Mode().IsRegular() && info.Mode()&0o111 != 0:
		return &binary{given: given, path: abs}, nil
	}
	return nil, misuse("%s is neither a folder with a Go package, a .go file nor a program", given)
}

// newBuild is a binary to be built from target, an absolute path in folder, or an
// import path if folder is "".
func newBuild(given, target, folder string) (*binary, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	b := &binary{given: given, pkg: target, dir: cwd}
	if folder != "" {
		// The compiler's messages name files as seen from where it runs. That is here,
		// unless the package is in another module.
		if root := moduleRoot(folder); root != "" && root != moduleRoot(cwd) {
			b.dir = folder
		}
		if rel, err := filepath.Rel(b.dir, target); err == nil {
			b.pkg = "." + string(filepath.Separator) + rel
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("finding a place for what is built: %w", err)
	}
	sum := sha256.Sum256([]byte(b.dir + "\x00" + b.pkg))
	name := strings.TrimSuffix(filepath.Base(target), ".go")
	b.path = filepath.Join(cache, "weir", "build", hex.EncodeToString(sum[:8]), name)
	return b, nil
}

// moduleRoot is the nearest folder with a go.mod, from dir upwards, or "".
func moduleRoot(dir string) string {
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			return ""
		}
		dir = up
	}
}

// build builds the program, if need be, and keeps it from others until release.
// What the compiler says goes to stderr.
func (b *binary) build(ctx context.Context, stderr io.Writer) error {
	if b.pkg == "" {
		return nil
	}
	folder := filepath.Dir(b.path)
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return fmt.Errorf("making a place for what is built: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(folder, "lock"), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return fmt.Errorf("locking what is built: %w", err)
	}
	b.locked = f
	if err := lock(f); err != nil {
		b.release()
		return fmt.Errorf("locking what is built: %w", err)
	}
	now := time.Now()
	if err := os.Chtimes(f.Name(), now, now); err == nil {
		prune(filepath.Dir(folder), now.Add(-unused))
	}
	if err := b.compile(ctx, stderr); err != nil {
		b.release()
		return err
	}
	return nil
}

func (b *binary) compile(ctx context.Context, stderr io.Writer) error {
	out := &notice{to: stderr}
	if f, ok := stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		out.show("building " + b.given)
	}
	defer out.clear()
	cmd := exec.CommandContext(ctx, "go", "build", "-o", b.path, b.pkg)
	cmd.Dir, cmd.Stdout, cmd.Stderr = b.dir, out, out
	switch err := cmd.Run(); {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, exec.ErrNotFound):
		return misuse("building %s takes the go command, which is not in PATH: install Go, or name a program that is built", b.given)
	case err != nil:
		if _, ok := errors.AsType[*exec.ExitError](err); ok {
			return &exitError{code: 2} // the compiler has said it
		}
		return fmt.Errorf("building %s: %w", b.given, err)
	}
	// Of a package that is no program, go build makes an archive.
	head := make([]byte, 8)
	f, err := os.Open(b.path)
	if err != nil {
		return fmt.Errorf("building %s: %w", b.given, err)
	}
	defer f.Close()
	if n, _ := io.ReadFull(f, head); bytes.Equal(head[:n], []byte("!<arch>\n")) {
		return misuse("%s is not a program: its package is not main", b.given)
	}
	return nil
}

// release lets others build the program again. One that was started is not
// harmed by that.
func (b *binary) release() {
	if b.locked != nil {
		b.locked.Close()
		b.locked = nil
	}
}

// prune removes what was built and has not been used since a time. Whatever stands
// in its way is no reason to complain: it is tried again with the next build.
func prune(root string, since time.Time) {
	folders, _ := os.ReadDir(root)
	for _, e := range folders {
		folder := filepath.Join(root, e.Name())
		if info, err := os.Stat(filepath.Join(folder, "lock")); err == nil && info.ModTime().Before(since) {
			os.RemoveAll(folder)
		}
	}
}

// notice is a line on a terminal that goes away when anything else is written.
type notice struct {
	to    io.Writer
	shown bool
}

func (n *notice) show(line string) {
	fmt.Fprint(n.to, line)
	n.shown = true
}

func (n *notice) clear() {
	if n.shown {
		fmt.Fprint(n.to, "\r\x1b[K")
		n.shown = false
	}
}

func (n *notice) Write(p []byte) (int, error) {
	n.clear()
	return n.to.Write(p)
}
