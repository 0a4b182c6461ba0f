package artifact

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Hash names a program by its content.
type Hash [sha256.Size]byte

const prefix = "sha256:"

// ParseHash reads the form that String writes: "sha256:" and 64 digits 0-9a-f. There is no
// other form, so that equal programs have equal names.
func ParseHash(s string) (Hash, error) {
	digits, ok := strings.CutPrefix(s, prefix)
	if !ok {
		return Hash{}, fmt.Errorf("artifact: %.80q is no hash of a program: it does not begin with %q", s, prefix)
	}
	h, err := parseName(digits)
	if err != nil {
		return Hash{}, fmt.Errorf("artifact: %.80q is no hash of a program: want %q and 64 digits 0-9a-f", s, prefix)
	}
	return h, nil
}

// String is the form that ParseHash reads.
func (h Hash) String() string { return prefix + h.name() }

// name is that of the file.
func (h Hash) name() string { return hex.EncodeToString(h[:]) }

func parseName(digits string) (h Hash, err error) {
	if len(digits) != 2*len(h) || strings.ToLower(digits) != digits {
		return h, hex.ErrLength
	}
	_, err = hex.Decode(h[:], []byte(digits))
	return h, err
}
