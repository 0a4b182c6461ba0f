package executor

import (
	"fmt"
	"strings"
	"sync"
)

// Lines of standard error that are told with the end of an executor: the first of a panic and
// the last of all.
const (
	headLines   = 12
	lastLines   = 20
	lastLineMax = 500 // bytes of each
)

// lastWords keeps them, in bounded memory.
type lastWords struct {
	mu struct {
		sync.Mutex
		n      int // lines so far
		ring   [lastLines]string
		head   []string
		headAt int // the number of head[0]
	}
}

// say takes a line.
func (w *lastWords) say(line []byte) {
	text := string(line[:min(len(line), lastLineMax)])
	if len(line) > lastLineMax {
		text += " ..."
	}
	text = strings.ToValidUTF8(strings.TrimSuffix(text, "\r"), "?")
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case strings.HasPrefix(text, "panic: ") || strings.HasPrefix(text, "fatal error: "):
		w.mu.head, w.mu.headAt = []string{text}, w.mu.n
	case len(w.mu.head) > 0 && len(w.mu.head) < headLines:
		w.mu.head = append(w.mu.head, text)
	}
	w.mu.ring[w.mu.n%lastLines] = text
	w.mu.n++
}

// lines is what to tell, and the one line that says most.
func (w *lastWords) lines() (lines []string, head string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	first := max(0, w.mu.n-lastLines) // of the ring
	if len(w.mu.head) > 0 {
		head = w.mu.head[0]
		end := min(w.mu.headAt+len(w.mu.head), first)
		if end > w.mu.headAt {
			lines = append(lines, w.mu.head[:end-w.mu.headAt]...)
		}
		if gap := first - max(end, w.mu.headAt); gap > 0 && w.mu.headAt < first {
			lines = append(lines, fmt.Sprintf("... %d lines ...", gap))
		}
	}
	for i := first; i < w.mu.n; i++ {
		lines = append(lines, w.mu.ring[i%lastLines])
	}
	if head == "" && len(lines) > 0 {
		head = lines[len(lines)-1]
	}
	return lines, head
}
