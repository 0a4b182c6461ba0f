package kafka

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

// CommitTo keeps the offsets of a consumer group up to date with what the job has
// read and committed, for tools that show how far it lags. The job itself goes by
// its checkpoints and does not read them. A failure to write them is logged and does
// not stop the job.
func CommitTo(group string) SourceOption {
	return sourceOption(func(o *sourceOptions) { o.group = group })
}

// progress is the newest offsets that are to be told, and who tells them.
type progress struct {
	wake chan struct{}
	mu   struct {
		sync.Mutex
		offsets kadm.Offsets
	}
}

// Committed tells the group's offsets. It does not wait for the brokers: if they are
// slow, offsets in between are left out.
func (r *reader[T]) Committed(_ flow.Epoch, splits []operator.Split) error {
	if r.group == "" || r.client == nil {
		return nil
	}
	var offsets kadm.Offsets
	for _, s := range splits {
		p, err := parsePosition(s)
		if err != nil {
			return err
		}
		if !p.Earliest {
			offsets.Add(kadm.Offset{Topic: p.Topic, TopicID: p.ID, Partition: p.Partition, At: p.Next, LeaderEpoch: -1})
		}
	}
	if len(offsets) == 0 {
		return nil
	}
	if r.told == nil {
		r.told = &progress{wake: make(chan struct{}, 1)}
		r.poller.Go(func() { r.told.run(r.running, r) })
	}
	r.told.mu.Lock()
	r.told.mu.offsets = offsets
	r.told.mu.Unlock()
	select {
	case r.told.wake <- struct{}{}:
	default:
	}
	return nil
}

// teller is what progress needs of a reader, whatever it reads.
type teller interface {
	tell(context.Context, kadm.Offsets)
}

func (p *progress) run(ctx context.Context, to teller) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		}
		p.mu.Lock()
		offsets := p.mu.offsets
		p.mu.Unlock()
		to.tell(ctx, offsets)
	}
}

func (r *reader[T]) tell(ctx context.Context, offsets kadm.Offsets) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err := kadm.NewClient(r.client).CommitAllOffsets(ctx, r.group, offsets)
	if err != nil && r.running.Err() == nil {
		r.ctx.Log.Warn("kafka: telling the group's offsets failed", "group", r.group, "err", err)
	}
}
