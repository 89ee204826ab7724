package bridge_test

import (
	"fmt"
	"net/http"
	"os"

	"gridsigner/bridge"
)

// sessions stand for the app's own: by the value of a cookie, who is signed in.
var sessions = map[string]bridge.User{}

// whoIs is the app's way to know its users.
func whoIs(r *http.Request) (bridge.User, error) {
	cookie, err := r.Cookie("app-session")
	if err != nil {
		return bridge.User{}, bridge.ReasonNoToken
	}
	user, ok := sessions[cookie.Value]
	if !ok {
		return bridge.User{}, bridge.ReasonAppRefused
	}
	return user, nil
}

// serveAlone makes a server of nothing but a bridge, for a proxy in front that sends it what
// is below /api/grid.
func serveAlone() (*http.Server, error) {
	api, err := bridge.New(bridge.Config{
		Upstream:     os.Getenv("GRID_BASE_URL"),
		Credentials:  func() (string, bridge.Secret, error) { return bridge.CredentialsFromEnv(os.Getenv) },
		Authenticate: whoIs,
	})
	if err != nil {
		return nil, err
	}
	return bridge.NewServer(api), nil // and not http.ListenAndServe, which waits for slow clients forever
}

// A bridge on a server of its own. In the examples simulateGrid stands in for Grid and sets the three
// variables, and show asks as nobody and as Alice.
func Example() {
	grid, stop := simulateGrid()
	defer stop()
	server, err := serveAlone()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(show(server, grid))
	// Output:
	// nobody: 401 BRIDGE_UNAUTHENTICATED
	// alice: 200 {"data":[]}
	// the app's page: 404 BRIDGE_ROUTE_NOT_FOUND
}
