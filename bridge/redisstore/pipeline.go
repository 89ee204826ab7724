package redisstore

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// mostTogether bounds how many operations go to Redis at once, so that none of them waits
// long for the others.
const mostTogether = 64

// pipelines have few connections carry what many requests ask at the same time. An operation
// goes at once if a connection is free; what comes while none is waits, and goes together.
// One by one each would cost four calls to the system, here and at Redis.
type pipelines struct {
	client   *redis.Client
	timeout  time.Duration
	patience time.Duration // how long an operation waits for a connection

	mu      sync.Mutex
	free    int // connections
	waiting []*exchange
}

// exchange is an operation on its way.
type exchange struct {
	commands func(redis.Pipeliner)
	err      error         // once done
	done     chan struct{} // nil for the one whose goroutine sends it
}

// do has Redis do the commands. Once it has returned without an error their results are
// there; after one nobody may look at them. The error is [redis.ErrPoolTimeout] if no
// connection was free in time.
func (p *pipelines) do(ctx context.Context, commands func(redis.Pipeliner)) error {
	x := &exchange{commands: commands}
	p.mu.Lock()
	if p.free > 0 {
		p.free--
		p.mu.Unlock()
		p.send(ctx, x)
		return x.err
	}
	x.done = make(chan struct{})
	p.waiting = append(p.waiting, x)
	p.mu.Unlock()

	patience := time.NewTimer(p.patience)
	defer patience.Stop()
	select {
	case <-x.done:
		return x.err
	case <-patience.C:
		if p.withdraw(x) {
			return redis.ErrPoolTimeout
		}
	}
	select { // it has been sent
	case <-x.done:
		return x.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// withdraw takes back x, and reports false if it has been sent.
func (p *pipelines) withdraw(x *exchange) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.waiting, x)
	if i < 0 {
		return false
	}
	p.waiting = slices.Delete(p.waiting, i, i+1)
	return true
}

// send sends exchanges over the connection that was taken for them, and then has it send
// what has come meanwhile.
func (p *pipelines) send(ctx context.Context, exchanges ...*exchange) {
	pipeline := p.client.Pipeline()
	ends := make([]int, len(exchanges))
	for i, x := range exchanges {
		x.commands(pipeline)
		ends[i] = pipeline.Len()
	}
	done, err := pipeline.Exec(ctx)
	if slices.ContainsFunc(done, func(command redis.Cmder) bool { return command.Err() != nil }) {
		err = nil // it is the first of theirs; otherwise nothing was sent, as where Redis takes no password
	}
	begin := 0
	for i, x := range exchanges {
		x.err = err
		for _, command := range done[begin:ends[i]] {
			if x.err == nil {
				x.err = command.Err()
			}
		}
		begin = ends[i]
		if x.done != nil {
			close(x.done)
		}
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) == 0 {
		p.free++
		return
	}
	n := min(len(p.waiting), mostTogether)
	next := slices.Clone(p.waiting[:n])
	p.waiting = slices.Delete(p.waiting, 0, n)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), p.timeout) // none of theirs: each may end before the others
		defer cancel()
		p.send(ctx, next...)
	}()
}
