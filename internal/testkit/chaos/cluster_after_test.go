//go:build integration

package chaos

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/weirflow/weir/internal/testkit/rig"
)

// afterwards checks what there is of a cluster whose job has ended.
func (r *clusterRun) afterwards(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := r.c.Ready(ctx); err != nil {
		return fmt.Errorf("after all faults: %w", err)
	}
	if out, err := r.c.Run(ctx, "audit", "--state", r.state(), r.name()); err != nil {
		return fmt.Errorf("weir audit: %w\n%s", err, out)
	}
	if names := left(r.out.root, func(name string) bool { return strings.HasPrefix(name, ".") }); len(names) > 0 {
		return fmt.Errorf("left behind by sinks: %s", strings.Join(names, ", "))
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		more := r.leftBehind()
		if len(more) == 0 {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("left behind: %s", strings.Join(more, ", "))
		}
	}
	var errs []error
	for _, n := range r.c.Nodes() {
		if !n.Running() {
			errs = append(errs, fmt.Errorf("%s does not run:\n%s", n.Name, n.Tail(20)))
		}
		errs = append(errs, r.logs(n))
	}
	return errors.Join(errs...)
}

// leftBehind is what should go soon after the job: processes that are no agents, and files of
// executors.
func (r *clusterRun) leftBehind() (all []string) {
	for _, p := range r.c.Left() {
		if !strings.Contains(p, " agent --config ") {
			all = append(all, p)
		}
	}
	for _, n := range r.c.Nodes() {
		for _, dir := range []string{"executors/local", "spill"} {
			names := left(filepath.Join(n.Data(), dir), func(name string) bool { return name != filepath.Base(dir) && name != "lock" })
			all = append(all, names...)
		}
	}
	return all
}

// maxLog is what an agent or an executor may say in the time of a schedule.
const maxLog = 2 << 20

// crash is how a program of Go ends that has a mistake.
var crash = regexp.MustCompile(`(?m)^(panic: |fatal error: |unexpected fault address|goroutine \d+ \[)`)

// logs looks into all that a node and its executors have said.
func (r *clusterRun) logs(n *rig.Node) error {
	var errs []error
	look := func(name string) {
		data, err := os.ReadFile(name)
		if err != nil {
			errs = append(errs, err)
		}
		if at := crash.FindIndex(data); at != nil {
			errs = append(errs, fmt.Errorf("%s: %s", name, data[at[0]:min(len(data), at[0]+3000)]))
		}
		if len(data) > maxLog {
			errs = append(errs, fmt.Errorf("%s has %d bytes, of which the last are %s", name, len(data), tail(data, 2000)))
		}
	}
	look(n.LogPath())
	err := filepath.WalkDir(filepath.Join(n.Data(), "executors", "logs"), func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a node that has run none
		}
		if err == nil && !e.IsDir() {
			look(path)
		}
		return err
	})
	return errors.Join(append(errs, err)...)
}

// brokers are those of Kafka: real ones at WEIR_KAFKA, or an imitation in this process.
func brokers(t *testing.T) string {
	t.Helper()
	if s := os.Getenv("WEIR_KAFKA"); s != "" {
		return s
	}
	k, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return strings.Join(k.ListenAddrs(), ",")
}
