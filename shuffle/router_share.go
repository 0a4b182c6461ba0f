package shuffle

// share finds the senders of a broadcast for which a batch is encoded once. They have
// one buffer, that of the first of them. It returns the senders that have a buffer.
func (r *Router[T]) share() (own []int) {
	for i, s := range r.senders {
		at, ok := s.(Sharer[T])
		switch {
		case ok && len(r.shared) == 0:
			r.shared = append(r.shared, i)
		case ok && at.Shares(r.senders[r.shared[0]]):
			r.shared = append(r.shared, i)
			continue
		}
		own = append(own, i)
	}
	if len(r.shared) == 1 {
		r.shared = nil // nobody to share with
	}
	return own
}

// isShared reports whether sender i holds the buffer of all that share.
func (r *Router[T]) isShared(i int) bool { return len(r.shared) > 0 && r.shared[0] == i }

// sendShared sends what was collected for all that share.
func (r *Router[T]) sendShared() error {
	return r.eachShared(func(s Sharer[T], b Shared) error { return s.SendShared(r.ctx, b) })
}

// pushShared is sendShared that does not wait.
func (r *Router[T]) pushShared() error {
	return r.eachShared(func(s Sharer[T], b Shared) error { return s.PushShared(b) })
}

func (r *Router[T]) eachShared(send func(Sharer[T], Shared) error) error {
	first := r.shared[0]
	buf, bytes, err := r.take(first)
	if err != nil {
		return err
	}
	encoded, err := r.senders[first].(Sharer[T]).Share(buf, bytes)
	if err != nil || encoded == nil {
		return err
	}
	defer encoded.Release()
	for _, i := range r.shared {
		if i != first {
			// They are all sent the same, from the first batch on.
			r.sent[i] = r.sent[first]
		}
	}
	for _, i := range r.shared {
		if err := send(r.senders[i].(Sharer[T]), encoded); err != nil {
			return err
		}
	}
	return nil
}

// sharedAvailable reports whether all that share have credit.
func (r *Router[T]) sharedAvailable() bool {
	for _, i := range r.shared {
		if !r.senders[i].Available() {
			return false
		}
	}
	return true
}
