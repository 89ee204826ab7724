package conformance_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"time"

	"gridsigner/bridge/conformance"
	"gridsigner/bridge/gridsim"
)

// The proxy that comes to mind first adds the API credentials to whatever comes. It is held against the
// suite, and fails. In a test of a bridge, each result that is not OK is an error; that of package bridge
// passes on a server by its NewServer, which takes the 15 seconds that such a server gives slow clients.
func Example() {
	sim, err := gridsim.New(gridsim.Config{})
	if err != nil {
		log.Fatal(err)
	}
	grid := httptest.NewServer(sim)
	defer grid.Close()
	upstream, err := url.Parse(grid.URL)
	if err != nil {
		log.Fatal(err)
	}
	seed := sim.Seed()
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(upstream)
			r.Out.SetBasicAuth(seed.ClientID, seed.ClientSecret)
		},
		ErrorLog: log.New(io.Discard, "", 0),
	}
	server := httptest.NewServer(http.StripPrefix("/api/grid", proxy))
	defer server.Close()

	results, err := conformance.Run(context.Background(), conformance.Options{
		URL:      server.URL + "/api/grid",
		Headers:  []string{"Cookie: session=of-alice"}, // how a user is known
		Account:  seed.AccountID,                       // which is hers
		Secrets:  []string{seed.ClientSecret},
		Patience: time.Second, // more is of no use with a server that never hangs up
	})
	if err != nil {
		log.Fatal(err)
	}
	failed := map[string]bool{}
	for _, r := range results {
		if !r.OK {
			failed[r.Group] = true // r.Name and r.Detail say which check it is, and what was seen
		}
	}
	for _, group := range slices.Sorted(maps.Keys(failed)) {
		fmt.Println(group)
	}

	// Output:
	// allow-list
	// body
	// cross-site
	// every answer
	// headers
	// malformed
	// method
	// ownership
	// promised body
	// size
	// slow client
	// traversal
	// users
}
