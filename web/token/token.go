// Package token keeps the tokens by which users and programs are known to the HTTP API.
//
// A token is "weir_" and 43 characters: 32 random bytes. The file holds the SHA-256 of each, with
// a name and a [Role]; who reads the file has no token. A hash without salt will do:
// 256 random bits can't be guessed.
//
// Invariants:
//
//  1. The token itself is shown once, when it is made, and stands nowhere.
//  2. Looking for a token compares it with all, in constant time.
//  3. A file is replaced whole, by rename, and has mode 0600. The temporary name is also the
//     lock of those who change it.
//  4. A [Set] reads its file again when it has changed, at most once a second. A file that is
//     broken, or gone, lets nobody in: a token that was revoked must not work again.
//
// A Set may be used from any goroutine.
package token

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"sync"
	"time"
)

// Role says what the owner of a token may do. Each one includes those before it.
type Role string

// The roles.
const (
	Read   Role = "read"   // look at all there is
	Submit Role = "submit" // programs and jobs: code runs on agents
	Admin  Role = "admin"  // nodes
)

var roles = []Role{Read, Submit, Admin}

// ParseRole refuses what is no role.
func ParseRole(s string) (Role, error) {
	if r := Role(s); slices.Contains(roles, r) {
		return r, nil
	}
	return "", fmt.Errorf("token: %q is no role: it must be one of read, submit, admin", s)
}

// Allows reports whether the role includes another.
func (r Role) Allows(need Role) bool {
	return slices.Contains(roles, need) && slices.Index(roles, r) >= slices.Index(roles, need)
}

// Entry is a token in the file.
type Entry struct {
	Name    string    `json:"name"`
	Role    Role      `json:"role"`
	SHA256  string    `json:"sha256"`
	Created time.Time `json:"created"`
}

// prefix lets scanners find tokens that got into places where they should not be.
const prefix = "weir_"

// Limits of a file.
const (
	maxTokens = 10_000
	maxBytes  = 4 << 20
)

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

type content struct {
	Tokens []Entry `json:"tokens"`
}

// Create makes a token and adds it to the file, which is made if there is none. It returns
// the token.
func Create(file, name string, role Role, now time.Time) (string, error) {
	if !nameForm.MatchString(name) {
		return "", fmt.Errorf("token: the name %q must be of 1 to 64 letters, digits, dots, dashes, underscores and @, and begin with a letter or digit", name)
	}
	if _, err := ParseRole(string(role)); err != nil {
		return "", err
	}
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // it never returns an error
	text := prefix + base64.RawURLEncoding.EncodeToString(secret[:])
	err := change(file, func(c *content) error {
		if slices.ContainsFunc(c.Tokens, func(e Entry) bool { return e.Name == name }) {
			return fmt.Errorf("token: %s has a token %q: revoke it first, or take another name", file, name)
		}
		if len(c.Tokens) >= maxTokens {
			return fmt.Errorf("token: %s is full with %d tokens: revoke some", file, maxTokens)
		}
		sum := sha256.Sum256([]byte(text))
		c.Tokens = append(c.Tokens, Entry{name, role, hex.EncodeToString(sum[:]), now.UTC().Truncate(time.Second)})
		return nil
	})
	if err != nil {
		return "", err
	}
	return text, nil
}

// Revoke removes the token of the name.
func Revoke(file, name string) error {
	if _, err := os.Stat(file); err != nil {
		return fmt.Errorf("token: %w", err)
	}
	return change(file, func(c *content) error {
		i := slices.IndexFunc(c.Tokens, func(e Entry) bool { return e.Name == name })
		if i < 0 {
			return fmt.Errorf("token: %s has no token %q", file, name)
		}
		c.Tokens = slices.Delete(c.Tokens, i, i+1)
		return nil
	})
}

// List is what the file holds.
func List(file string) ([]Entry, error) {
	c, err := read(file)
	return c.Tokens, err
}

func change(file string, do func(*content) error) (err error) {
	temporary := file + ".new"
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("token: %s is there: somebody changes the tokens just now; if nobody does, remove it", temporary)
	}
	if err != nil {
		return fmt.Errorf("token: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(temporary))
		}
	}()
	c, err := read(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := do(&c); err != nil {
		return err
	}
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("token: encoding: %w", err)
	}
	if _, err := f.Write(append(data, '\n')); err != nil {
		return fmt.Errorf("token: writing %s: %w", temporary, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("token: writing %s: %w", temporary, err)
	}
	if err := os.Rename(temporary, file); err != nil {
		return fmt.Errorf("token: %w", err)
	}
	return f.Close()
}

func read(file string) (c content, err error) {
	f, err := os.Open(file)
	if err != nil {
		return c, fmt.Errorf("token: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return c, fmt.Errorf("token: %w", err)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return c, fmt.Errorf("token: %s can be written by others (mode %04o): chmod 600 it", file, info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return c, fmt.Errorf("token: reading %s: %w", file, err)
	}
	if c, err = parse(data); err != nil {
		return c, fmt.Errorf("token: %s: %w", file, err)
	}
	return c, nil
}

func parse(data []byte) (c content, err error) {
	if len(data) > maxBytes {
		return c, fmt.Errorf("it is larger than %d bytes", maxBytes)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return content{}, err
	}
	if len(c.Tokens) > maxTokens {
		return content{}, fmt.Errorf("it has %d tokens, more than %d", len(c.Tokens), maxTokens)
	}
	seen := map[string]bool{}
	for i, e := range c.Tokens {
		_, roleErr := ParseRole(string(e.Role))
		sum, sumErr := hex.DecodeString(e.SHA256)
		switch {
		case !nameForm.MatchString(e.Name) || seen[e.Name]:
			return content{}, fmt.Errorf("token %d has a bad or repeated name %q", i+1, e.Name)
		case roleErr != nil:
			return content{}, roleErr
		case sumErr != nil || len(sum) != sha256.Size:
			return content{}, fmt.Errorf("token %q has no SHA-256", e.Name)
		}
		seen[e.Name] = true
	}
	return c, nil
}

// Set is the tokens of a file, as they are now.
type Set struct {
	file string
	now  func() time.Time
	// broken is told once when the file can't be used any more, and once with nil when it can.
	broken func(error)
	mu     struct {
		sync.Mutex
		entries []hashed
		looked  time.Time
		mod     time.Time
		size    int64
		err     error
	}
}

type hashed struct {
	Entry
	sum [sha256.Size]byte
}

// Open reads the file. now is the clock; told hears of a file that has become unusable, and,
// with nil, usable again. Both may be nil.
func Open(file string, now func() time.Time, told func(error)) (*Set, error) {
	if now == nil {
		now = time.Now
	}
	if told == nil {
		told = func(error) {}
	}
	s := &Set{file: file, now: now, broken: told}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.looked = now()
	if info, err := os.Stat(file); err == nil {
		s.mu.mod, s.mu.size = info.ModTime(), info.Size()
	}
	return s, s.readLocked()
}

// Identify finds whose token it is.
func (s *Set) Identify(text string) (Entry, bool) {
	sum := sha256.Sum256([]byte(text))
	found := -1
	entries := s.current()
	for i := range entries {
		if subtle.ConstantTimeCompare(entries[i].sum[:], sum[:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return Entry{}, false
	}
	return entries[found].Entry, true
}

func (s *Set) current() []hashed {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.now()
	if at.Sub(s.mu.looked) < time.Second {
		return s.mu.entries
	}
	s.mu.looked = at
	info, err := os.Stat(s.file)
	if err == nil && info.ModTime().Equal(s.mu.mod) && info.Size() == s.mu.size && s.mu.err == nil {
		return s.mu.entries
	}
	if err == nil {
		s.mu.mod, s.mu.size = info.ModTime(), info.Size()
	}
	before := s.mu.err
	if err := s.readLocked(); (err == nil) != (before == nil) {
		s.broken(err)
	}
	return s.mu.entries
}

func (s *Set) readLocked() error {
	c, err := read(s.file)
	s.mu.err, s.mu.entries = err, nil
	for _, e := range c.Tokens {
		h := hashed{Entry: e}
		if err == nil {
			_, err = hex.Decode(h.sum[:], []byte(e.SHA256)) // parse has looked at it
			s.mu.entries = append(s.mu.entries, h)
		}
	}
	return err
}
