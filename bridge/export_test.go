package bridge

import (
	"net/http"
	"runtime"

	"gridsigner/signer"
)

// KindWithoutList is the kind of the id that op takes if nobody can find out
// whose it is, else "".
func KindWithoutList(op signer.Operation) string {
	kind := routeOf(op).idKind
	if kind == "" || kind == "InternalAccount" || lists[kind] != nil {
		return ""
	}
	return kind
}

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
