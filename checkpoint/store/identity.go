package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
)

// Identity is a word that is drawn when the job is first run in this storage, and
// stays for as long as the job is there. Sinks are to know the job by it as well as by
// its name: a job whose storage was removed begins with epoch 1 again, and a target
// that remembers the epochs of its namesake must not take these for repeats.
func (j *Job) Identity(ctx context.Context) (string, error) {
	key := j.root + "identity"
	word := strings.ToLower(rand.Text()[:10])
	err := j.opts.Retry.do(ctx, func(ctx context.Context) error {
		err := j.st.PutIfAbsent(ctx, key, []byte(word))
		if !errors.Is(err, ErrExists) {
			return err
		}
		// It may be the one that an earlier try has put.
		there, gerr := j.readAll(ctx, key)
		if gerr == nil {
			word = string(there)
		}
		return gerr
	})
	if err != nil {
		return "", fmt.Errorf("store: identity of job %s: %w", j.id, err)
	}
	return word, nil
}
