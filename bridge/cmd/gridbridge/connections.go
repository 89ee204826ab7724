package main

import (
	ordered "container/list"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"gridsigner/bridge"
)

const (
	// fileReserve is how many files are left to the admin listener, logs and whatever
	// else is opened, when connections have taken all that they may.
	fileReserve = 64

	// adminConnections are as many as fit into that.
	adminConnections = 32

	leastConnections = 16
	mostConnections  = 20000

	// crowd is how many requests at once make it worth to give memory back after them, and
	// calm is how long after the last of them: at most once in that time.
	crowd = 256
	calm  = time.Second / 2
)

// connectionsFor is how many connections a process may have with a limit of that many
// open files: half of them, as each may wait for one to Grid or to the app.
func connectionsFor(files uint64) int {
	files = min(files, fileReserve+2*mostConnections)
	return int(max(files, fileReserve+2*leastConnections)-fileReserve) / 2
}

// connections is a listener that has at most max connections open. Without an end to
// them, whoever opens some hundreds and says nothing takes all files of the
// process, and nobody else is answered, operators included.
//
// To make room for a new one it closes the one that has gone the longest
// without a request, or has never sent a whole one. One with a request is never closed:
// if all have one, the new one is.
//
// What a crowd of requests takes, with a connection to Grid for each, is several times what
// their connections take while they wait. Go would keep it for minutes: it collects
// when more is asked for, which idle connections do not. So once nobody has a request it is
// collected and given back.
type connections struct {
	net.Listener
	max      int
	observe  func(bridge.Event)
	giveBack func()

	mu    sync.Mutex
	most  int                           // requests at once since memory was last given back
	ebbs  bool                          // whether it is going to be
	open  map[net.Conn]*ordered.Element // of quiet, nil for one with a request
	quiet ordered.List                  // of net.Conn, the one that has been so the longest first
}

func newConnections(ln net.Listener, max int, observe func(bridge.Event)) *connections {
	return &connections{Listener: ln, max: max, observe: observe, giveBack: giveBack, open: map[net.Conn]*ordered.Element{}}
}

// Accept returns the next connection that there is room for.
func (c *connections) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		surplus := c.add(conn)
		if surplus != nil {
			c.observe(bridge.Event{Kind: bridge.EventConnection})
			surplus.Close()
		}
		if surplus != conn {
			return conn, nil
		}
	}
}

// add adds conn, and returns the connection that has to be closed for it, if any.
func (c *connections) add(conn net.Conn) (surplus net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) >= c.max {
		if c.quiet.Len() == 0 {
			return conn
		}
		surplus = c.quiet.Remove(c.quiet.Front()).(net.Conn)
		delete(c.open, surplus)
	}
	c.open[conn] = c.quiet.PushBack(conn)
	return surplus
}

// begin notes that a request of conn's is about to be handled. It reports false if
// the connection was closed for another: nobody would get the answer.
func (c *connections) begin(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.open[conn]
	if e != nil {
		c.quiet.Remove(e)
		c.open[conn] = nil
		c.most = max(c.most, c.busy())
	}
	return ok
}

// busy is how many connections have a request.
func (c *connections) busy() int { return len(c.open) - c.quiet.Len() }

// changed is told by a server what has become of conn.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.open[conn]
	switch {
	case state == http.StateIdle && ok && e == nil:
		c.open[conn] = c.quiet.PushBack(conn)
	case state == http.StateClosed, state == http.StateHijacked:
		if e != nil {
			c.quiet.Remove(e)
		}
		delete(c.open, conn)
	}
	if c.most >= crowd && c.busy() == 0 && !c.ebbs {
		c.ebbs = true
		time.AfterFunc(calm, c.ebb)
	}
}

// ebb gives memory back that a crowd took.
func (c *connections) ebb() {
	c.mu.Lock()
	c.ebbs, c.most = false, c.busy()
	c.mu.Unlock()
	c.giveBack()
}

// giveBack collects twice: what is pooled outlives the first time.
func giveBack() {
	runtime.GC()
	debug.FreeOSMemory()
}

// accepted is what Accept has returned: a server with TLS has more around it.
func accepted(conn net.Conn) net.Conn {
	if c, ok := conn.(*tls.Conn); ok {
		return c.NetConn()
	}
	return conn
}

type connectionKey struct{}

// watch has server, which is to serve on c, say which connections have a request.
// [http.StateActive] does not tell: it is left out for a request that came together
// with the one before it.
func (c *connections) watch(server *http.Server) {
	handler := server.Handler
	server.ConnState = func(conn net.Conn, state http.ConnState) { c.changed(accepted(conn), state) }
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, connectionKey{}, accepted(conn))
	}
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if conn, _ := r.Context().Value(connectionKey{}).(net.Conn); !c.begin(conn) {
			panic(http.ErrAbortHandler)
		}
		handler.ServeHTTP(w, r)
	})
}
