package node

// openBackend makes where the tasks' state is.
func (d *durable) openBackend() error {
	if d.opt.State.Backend == Memory {
		return nil
	}
	_, err := d.workDir()
	return err
}
