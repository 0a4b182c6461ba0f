package rig

import (
	"os/exec"
	"runtime"
	"sync"
)

// spawner starts processes, all from one thread of the system: the kernel takes the thread
// that has started a process for its parent, and kills the process with it.
type spawner struct {
	jobs chan func()
	wg   sync.WaitGroup
}

func newSpawner() *spawner {
	s := &spawner{jobs: make(chan func())}
	s.wg.Go(func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for do := range s.jobs {
			do()
		}
	})
	return s
}

func (s *spawner) start(cmd *exec.Cmd) (err error) {
	done := make(chan struct{})
	s.jobs <- func() {
		defer close(done)
		err = cmd.Start()
	}
	<-done
	return err
}

func (s *spawner) close() {
	close(s.jobs)
	s.wg.Wait()
}
