package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"gridsigner/bridge"
)

// onStderr is the audit log that is none of its own.
const onStderr = "stderr"

// How many lines wait for standard error to take them. A line is below a kilobyte, but
// for the rare one with the stack of a panic.
const (
	trafficLines = 4096
	auditLines   = 16384
)

// maxWrite bounds what is written at once: as much as a pipe takes whole, whoever else writes
// to it (PIPE_BUF). Lines are not torn.
const maxWrite = 4096

const (
	flushTimeout = 2 * time.Second // for what waits, at the end
	retryDelay   = time.Second     // after a line could not be written
)

var (
	errAuditFull  = errors.New("standard error is not read, and no more lines of the audit can wait for it")
	errAuditEnded = errors.New("the audit has ended")

	// errAuditLost is never printed: nobody reads what is.
	errAuditLost = errors.New("lines of the audit could not be written")
)

// sink has one goroutine write lines to standard error, so that a reader which has
// stalled stops nobody: a write to a full pipe does not return. Lines of the traffic log
// are then dropped and counted. Of the audit nothing is dropped that was taken, and
// what cannot be taken is an error.
type sink struct {
	out     io.Writer
	observe func(bridge.Event)
	closing chan struct{}
	done    chan struct{} // closed when nothing more is written

	mu             sync.Mutex
	wake           sync.Cond // there is something to write, or nothing more will come
	traffic, audit [][]byte
	owed           int   // lines of the audit that were taken and are not written
	dropped        int   // lines of the traffic log, since it was last said
	failed         error // of the last write
	ended          bool
}

// newSink returns a sink that must be closed.
func newSink(out io.Writer, observe func(bridge.Event)) *sink {
	s := &sink{out: out, observe: observe, closing: make(chan struct{}), done: make(chan struct{})}
	s.wake.L = &s.mu
	go s.run()
	return s
}

// trafficWriter and auditWriter take a line with each write, and never block.
type (
	trafficWriter struct{ *sink }
	auditWriter   struct{ *sink }
)

func (w trafficWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	drop := w.ended || len(w.traffic) >= trafficLines
	if drop {
		w.dropped++
	} else {
		w.traffic = append(w.traffic, bytes.Clone(line))
		w.wake.Signal()
	}
	w.mu.Unlock()
	if drop {
		w.observe(bridge.Event{Kind: bridge.EventLog})
	}
	return len(line), nil
}

func (w auditWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.ended:
		return 0, errAuditEnded
	case w.failed != nil:
		return 0, w.failed
	case len(w.audit) >= auditLines:
		return 0, errAuditFull
	}
	w.audit = append(w.audit, bytes.Clone(line))
	w.owed++
	w.wake.Signal()
	return len(line), nil
}

func (s *sink) run() {
	defer close(s.done)
	var lines []byte
	for {
		var audit int
		if lines, audit = s.next(lines[:0]); len(lines) == 0 {
			return
		}
		if s.write(lines) {
			s.mu.Lock()
			s.owed -= audit
			s.mu.Unlock()
		}
	}
}

// next waits for lines and appends to empty those that are written next, one at least and no
// more than fit into a write: the audit's first, and how many those are. Once all is written
// that came before lines were dropped, it is one that says how many. There is none when
// nothing more will come.
func (s *sink) next(empty []byte) (lines []byte, audit int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.audit) == 0 && len(s.traffic) == 0 && s.dropped == 0 && !s.ended {
		s.wake.Wait()
	}
	lines = empty
	take := func(queue *[][]byte) (taken int) {
		for ; taken < len(*queue) && (len(lines) == 0 || len(lines)+len((*queue)[taken]) <= maxWrite); taken++ {
			lines = append(lines, (*queue)[taken]...)
			(*queue)[taken] = nil
		}
		*queue = (*queue)[taken:]
		return taken
	}
	audit = take(&s.audit)
	if len(s.audit) == 0 {
		take(&s.traffic)
	}
	if len(lines) == 0 && s.dropped > 0 {
		var b bytes.Buffer
		slog.New(slog.NewJSONHandler(&b, nil)).Warn("log lines dropped: standard error was not read", slog.Int("lines", s.dropped))
		s.dropped = 0
		lines = append(lines, b.Bytes()...)
	}
	return lines, audit
}

// write writes lines whole. It tries again until it can, or the sink is closed.
func (s *sink) write(lines []byte) bool {
	for {
		n, err := s.out.Write(lines)
		s.mu.Lock()
		s.failed = err
		s.mu.Unlock()
		if err == nil {
			return true
		}
		lines = lines[n:]
		select {
		case <-time.After(retryDelay):
		case <-s.closing:
			return false
		}
	}
}

// close writes what waits, unless nobody reads it, and ends the sink.
func (s *sink) close() error {
	s.mu.Lock()
	s.ended = true
	s.wake.Signal()
	s.mu.Unlock()
	close(s.closing)
	select {
	case <-s.done:
	case <-time.After(flushTimeout):
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owed > 0 {
		return errAuditLost
	}
	return nil
}

// auditFile is an audit in a file of its own. What is written is there even if the
// process is killed in the next moment.
type auditFile struct {
	path string

	mu   sync.Mutex
	file *os.File
	torn bool // the last line is there in part
}

// openAuditFile opens path for lines to be added, and makes it if it is not there.
func openAuditFile(path string) (*auditFile, error) {
	a := &auditFile{path: path}
	if err := a.reopen(); err != nil {
		return nil, fmt.Errorf("--audit-log: %w", err)
	}
	return a, nil
}

// checkAuditFile tells whether path can be opened, and leaves no file behind: it would
// belong to whoever checks, and not to whoever serves.
func checkAuditFile(path string) error {
	_, errBefore := os.Stat(path)
	a, err := openAuditFile(path)
	if err == nil {
		err = a.close()
	}
	if err == nil && errors.Is(errBefore, fs.ErrNotExist) {
		err = os.Remove(path)
	}
	return err
}

// reopen opens the path again, at which there is another file after a rotation. If it
// cannot, the one that is open stays.
func (a *auditFile) reopen() error {
	if info, err := os.Stat(a.path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", a.path) // a pipe could stall
	}
	file, err := os.OpenFile(a.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	a.mu.Lock()
	old := a.file
	a.torn = a.torn && sameFile(old, file)
	a.file = file
	a.mu.Unlock()
	if old != nil {
		old.Close() // nothing is buffered
	}
	return nil
}

// sameFile reports whether a and b are one, or may be.
func sameFile(a, b *os.File) bool {
	one, errOne := a.Stat()
	other, errOther := b.Stat()
	return errOne != nil || errOther != nil || os.SameFile(one, other)
}

// Write adds a line with one write to the system.
func (a *auditFile) Write(line []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	text := line
	if a.torn {
		text = append([]byte{'\n'}, line...)
	}
	n, err := a.file.Write(text)
	a.torn = err != nil && (n > 0 || a.torn)
	return min(n, len(line)), err
}

func (a *auditFile) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.file.Close()
}

// followRotation opens the file again on each SIGHUP, until stop is called.
func (a *auditFile) followRotation(log *slog.Logger) (stop func()) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	go func() {
		for range hup {
			if err := a.reopen(); err != nil {
				log.Error("audit log not opened again: the last file stays", slog.String("reason", err.Error()))
			}
		}
	}()
	return func() {
		signal.Stop(hup)
		close(hup)
	}
}
