package bridge

import (
	"net/http"
	"strings"
	"time"
)

// Limits on clients of a server. A request is a few kilobytes.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 15 * time.Second
	writeTimeout  = 15 * time.Second // beyond reading and what is done at Grid
	idleTimeout   = time.Minute
	maxHeader     = 32 << 10
)

// NewServer returns a server of handler with a limit on all that a client can do slowly or
// make large. [http.ListenAndServe] has none: with a few hundred connections that say
// nothing anybody can take it away from everybody else.
//
// The caller sets what else a server has: Addr, TLSConfig, ErrorLog.
func NewServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      readTimeout + DefaultTimeout + writeTimeout, // from the end of the headers
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		// "OPTIONS *" is for the handler to refuse, like all else.
		DisableGeneralOptionsHandler: true,
	}
}

// isApps reports whether r is for [Config.App]. The path is as the client escaped it.
func (b *bridge) isApps(r *http.Request) bool {
	if b.App == nil {
		return false
	}
	below, ok := strings.CutPrefix(r.URL.EscapedPath(), b.Prefix)
	return !ok || below != "" && below[0] != '/'
}

// makeTime gives an answer to r the time that [Config.Timeout] takes where the server that r
// came by has less: its WriteTimeout would cut off what Grid has done.
func (b *bridge) makeTime(w http.ResponseWriter, r *http.Request) {
	need := readTimeout + b.Timeout + writeTimeout
	if server, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok && server.WriteTimeout > 0 && server.WriteTimeout < need {
		http.NewResponseController(w).SetWriteDeadline(time.Now().Add(need)) // if it cannot, the server's own limit stays
	}
}
