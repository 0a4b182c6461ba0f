package executor

import (
	"os"
	"runtime"
	"sync"
)

// spawner starts processes, all from one thread of the system. The kernel kills a process
// whose parent has ended, and takes the thread that has started it for the parent:
// this thread lives until the last of them is gone.
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

// start is os.StartProcess on that thread.
func (s *spawner) start(path string, args []string, attr *os.ProcAttr) (p *os.Process, err error) {
	done := make(chan struct{})
	s.jobs <- func() {
		defer close(done)
		p, err = os.StartProcess(path, args, attr)
	}
	<-done
	return p, err
}

// close ends the thread. No process of its may live.
func (s *spawner) close() {
	close(s.jobs)
	s.wg.Wait()
}
