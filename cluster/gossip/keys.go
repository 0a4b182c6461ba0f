package gossip

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/hashicorp/memberlist"
)

// KeySize is the size of a key in bytes: AES-256.
const KeySize = 32

// NewKey makes a key.
func NewKey() []byte {
	key := make([]byte, KeySize)
	_, _ = rand.Read(key) // it never fails
	return key
}

// Keys is the ring of keys. What is sent is sealed with the one in use; what was sealed with
// any of them is opened. To change the key of a running cluster: Add the new one everywhere,
// then Use it everywhere, then Remove the old one everywhere. There are at most two.
type Keys struct{ ring *memberlist.Keyring }

// maxKeys is two: the library takes a key out of the middle of its list in place, while
// others read it.
const maxKeys = 2

func newKeys(keys [][]byte) (*Keys, error) {
	if len(keys) > maxKeys {
		return nil, fmt.Errorf("gossip: %d keys: at most %d are possible, the one in use and one that comes or goes", len(keys), maxKeys)
	}
	for i, key := range keys {
		if err := checkKey(key); err != nil {
			return nil, fmt.Errorf("gossip: key %d: %w", i+1, err)
		}
	}
	if len(keys) == 0 {
		return nil, nil
	}
	ring, err := memberlist.NewKeyring(keys, keys[0])
	if err != nil {
		return nil, fmt.Errorf("gossip: keys: %w", err)
	}
	return &Keys{ring}, nil
}

func checkKey(key []byte) error {
	if len(key) != KeySize {
		return fmt.Errorf("it has %d bytes and not %d", len(key), KeySize)
	}
	return nil
}

var errNoKeys = errors.New("gossip: this agent was started without a key: give it one and start it anew")

// List names the keys by the first 8 bytes of their SHA-256, the one in use first.
func (k *Keys) List() (names []string) {
	for _, key := range k.All() {
		names = append(names, KeyName(key))
	}
	return names
}

// All are the keys, the one in use first.
func (k *Keys) All() [][]byte {
	if k == nil {
		return nil
	}
	return k.ring.GetKeys()
}

// Find looks for a key by its name.
func (k *Keys) Find(name string) (key []byte, ok bool) {
	for _, key := range k.All() {
		if KeyName(key) == name {
			return key, true
		}
	}
	return nil, false
}

// KeyName is what a key may be called in public.
func KeyName(key []byte) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:8])
}

// Add lets what is sealed with the key be opened.
func (k *Keys) Add(key []byte) error {
	if k == nil {
		return errNoKeys
	}
	if err := checkKey(key); err != nil {
		return fmt.Errorf("gossip: add a key: %w", err)
	}
	for _, known := range k.ring.GetKeys() {
		if KeyName(known) == KeyName(key) {
			return nil
		}
	}
	if len(k.ring.GetKeys()) >= maxKeys {
		return fmt.Errorf("gossip: there are %d keys: remove the one that is not in use first", maxKeys)
	}
	if err := k.ring.AddKey(key); err != nil {
		return fmt.Errorf("gossip: add key %s: %w", KeyName(key), err)
	}
	return nil
}

// Use seals with the key from now on. It was added before.
func (k *Keys) Use(key []byte) error {
	if k == nil {
		return errNoKeys
	}
	if err := k.ring.UseKey(key); err != nil {
		return fmt.Errorf("gossip: use key %s: %w", KeyName(key), err)
	}
	return nil
}

// Remove forgets a key that is not in use.
func (k *Keys) Remove(key []byte) error {
	if k == nil {
		return errNoKeys
	}
	if err := k.ring.RemoveKey(key); err != nil {
		return fmt.Errorf("gossip: remove key %s: %w", KeyName(key), err)
	}
	return nil
}
