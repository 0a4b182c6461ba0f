package operator

import (
	"fmt"

	"github.com/weirflow/weir/shuffle"
	"github.com/weirflow/weir/shuffle/wire"
)

// RemoteSender is a shuffle.Sender of an [Edge]'s type, for a consumer in another process.
type RemoteSender interface {
	// Close gives its partition up. It may be called on any goroutine once the task that
	// sends has ended.
	Close()
}

func (edge[T]) NewRemoteSender(e *wire.Endpoint, peer string, id wire.PartitionID, opt EdgeOptions) (RemoteSender, error) {
	s, err := wire.NewSender[T](e, peer, id, wire.SenderOptions{BatchSize: opt.BatchSize})
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (edge[T]) AttachRemote(e *wire.Endpoint, id wire.PartitionID, sender any, opt EdgeOptions) (detach func(), err error) {
	to, ok := sender.(shuffle.Sender[T])
	if !ok {
		return nil, fmt.Errorf("operator: exchange of %T cannot be fed into %T", *new(T), sender)
	}
	return wire.Attach(e, id, to, wire.AttachOptions{Credit: opt.Credit})
}
