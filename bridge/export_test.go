package bridge

import (
	"context"
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

// CredentialsOf are those of a bridge, beside the bridge.
func CredentialsOf(c Config, observe func(Event)) (*credentials, error) {
	err := c.fillIn()
	return c.credentials(observe), err
}

// Header and Renew are what a bridge calls; a header is shown as it is sent.
func (c *credentials) Header() string { return c.header().reveal() }

func (c *credentials) Renew(ctx context.Context, refused string) bool {
	return c.renew(ctx, NewSecret(refused))
}

// BasicOf is the header of a pair, as it is sent.
func BasicOf(id string, secret Secret) string { return basic(id, secret).reveal() }
