package identity

import (
	"context"
	"net/http"
	"net/netip"

	"gridsigner/bridge"
)

// NewForwardAuthFrom is [NewForwardAuth] for clients whose addresses address knows.
func NewForwardAuthFrom(f ForwardAuth, address func(context.Context) netip.Addr) (func(*http.Request) (bridge.User, error), error) {
	return newForwardAuth(f, address)
}
