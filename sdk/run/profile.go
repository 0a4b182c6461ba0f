package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/internal/obs/profile"
)

// profile takes a profile of this process into a file for the agent, beside the goroutine that
// hears it: the profile of some time takes that time. One is taken at a time.
func (x *execution) profile(ctx context.Context, request uint64, kind string, over time.Duration) {
	if !x.profiling.CompareAndSwap(false, true) {
		x.answer(request, "", errors.New("a profile of this executor is being taken already: ask again when it is done"))
		return
	}
	x.side.Go(func() {
		size, err := profileTo(ctx, filepath.Join(x.cfg.Dir, api.ProfileFile+strconv.FormatUint(request, 10)), kind, over)
		x.profiling.Store(false) // who has its answer may ask for the next one
		x.answer(request, strconv.FormatInt(size, 10), err)
	})
}

// profileTo writes a profile into a new file, of which nothing is left after an error.
func profileTo(ctx context.Context, file, kind string, over time.Duration) (size int64, err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, fmt.Errorf("making room for a profile: %w", err)
	}
	size, err = profile.Write(ctx, f, kind, over)
	if err = errors.Join(err, f.Close()); err != nil {
		err = errors.Join(err, os.Remove(file))
	}
	return size, err
}
