package bridge

import (
	"net/http"
	"runtime"
	"strings"
	"time"
)

// Routes lists the allow-list as requests that its checks of input let pass,
// so that a test of every route needs no list of its own.
func Routes(ids map[string]string, account string) (requests []Request) {
	for _, rt := range routes {
		request := Request{Method: rt.method, Path: strings.Replace(rt.template, "{id}", ids[rt.idKind], 1)}
		for i, name := range rt.query {
			request.Path += "?&"[min(i, 1):min(i, 1)+1] + name + "=" + account
		}
		if rt.body > 0 {
			request.Body = "{}"
		}
		requests = append(requests, request)
	}
	return requests
}

// Request is one of [Routes].
type Request struct{ Method, Path, Body string }

// CloseIdle ends the connections to Grid that wait for a next request.
func CloseIdle(h http.Handler) { h.(*bridge).transport.CloseIdleConnections() }

// Heap is how many bytes are in use. What has a finalizer takes two collections.
func Heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// OpenPatientRedis is [OpenRedis] for a machine that is busy: only a Redis that
// is gone fails.
func OpenPatientRedis(url string) (*Redis, error) { return openRedis(url, time.Minute) }
