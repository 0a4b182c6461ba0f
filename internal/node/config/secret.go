package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Bounds of what is read from files with secrets.
const (
	gossipKeySize = 32
	maxGossipKeys = 2
	maxSecret     = 64 << 10
)

// GossipKeys reads the file of gossip.key_file: a key on each line, in base64; empty lines
// and those that begin with # are left out. The first one is for sending.
func GossipKeys(file string) ([][]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("config: gossip.key_file: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("config: gossip.key_file: %s can be read by others (mode %04o): chmod 600 it", file, info.Mode().Perm())
	}
	data, err := readFile(file)
	if err != nil {
		return nil, err
	}
	var all [][]byte
	number := 0
	for line := range strings.SplitSeq(string(data), "\n") {
		number++
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		k, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(k) != gossipKeySize {
			return nil, fmt.Errorf("config: gossip.key_file: line %d of %s is not %d bytes in base64: openssl rand -base64 32 makes one", number, file, gossipKeySize)
		}
		all = append(all, k)
	}
	switch {
	case len(all) == 0:
		return nil, fmt.Errorf("config: gossip.key_file: %s holds no key", file)
	case len(all) > maxGossipKeys:
		return nil, fmt.Errorf("config: gossip.key_file: %s holds more than %d keys", file, maxGossipKeys)
	}
	return all, nil
}

// Secret reads what the agent keeps under the name: a file of secrets_dir, without a line's end
// behind it. A name is not a path, and no link is followed out of the directory.
func Secret(dir, name string) (string, error) {
	switch {
	case dir == "":
		return "", fmt.Errorf("config: the secret %q: this agent keeps none, for secrets_dir is not set", name)
	case !nameForm.MatchString(name):
		return "", fmt.Errorf("config: %q is no name of a secret", name)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", fmt.Errorf("config: secrets_dir: %w", err)
	}
	defer root.Close()
	info, err := root.Stat(name)
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("config: this agent keeps no secret %q: put it into a file of that name in secrets_dir", name)
	}
	if err != nil {
		return "", fmt.Errorf("config: the secret %q: %w", name, err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("config: the secret %q must be a file that only its owner can read: chmod 600 it", name)
	}
	f, err := root.Open(name)
	if err != nil {
		return "", fmt.Errorf("config: the secret %q: %w", name, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", fmt.Errorf("config: the secret %q: %w", name, err)
	}
	if len(data) > maxSecret {
		return "", fmt.Errorf("config: the secret %q is larger than %d bytes", name, maxSecret)
	}
	return strings.TrimSuffix(string(data), "\n"), nil
}
