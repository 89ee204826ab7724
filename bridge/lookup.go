package bridge

import "sync"

// lookups are the look-ups at Grid that are under way, so that requests which want the same
// one do not each make it.
type lookups struct {
	mu  sync.Mutex
	all map[string]*lookup
}

type lookup struct {
	done chan struct{} // closed when the rest is there
	rows []row
	err  error
}

// join returns the look-up of key that is under way, or one for the caller to make.
func (l *lookups) join(key string) (found *lookup, mine bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if found := l.all[key]; found != nil {
		return found, false
	}
	if l.all == nil {
		l.all = map[string]*lookup{}
	}
	l.all[key] = &lookup{done: make(chan struct{})}
	return l.all[key], true
}

// make makes a look-up that join has given out.
func (l *lookups) make(key string, made *lookup, list func() ([]row, error)) {
	made.err = errInternal // unless it returns
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.all, key)
		close(made.done)
	}()
	made.rows, made.err = list()
}
