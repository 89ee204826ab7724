package bridge_test

import (
	"fmt"
	"io"
	"net/http"
	"os"

	"gridsigner/bridge"
)

// serveWithApp makes a server of an app's own router, with a bridge before it.
func serveWithApp() (*http.Server, error) {
	app := http.NewServeMux()
	app.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "my wallet") })
	api, err := bridge.New(bridge.Config{
		Upstream:     os.Getenv("GRID_BASE_URL"),
		Credentials:  func() (string, bridge.Secret, error) { return bridge.CredentialsFromEnv(os.Getenv) },
		Authenticate: whoIs,
		App:          app, // instead of app.Handle("/api/grid/", api), which would clean paths before the bridge sees them
	})
	if err != nil {
		return nil, err
	}
	return bridge.NewServer(api), nil
}

// A bridge on the server of an app, beside its own pages.
func ExampleConfig_app() {
	grid, stop := simulateGrid()
	defer stop()
	server, err := serveWithApp()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(show(server, grid))
	// Output:
	// nobody: 401 BRIDGE_UNAUTHENTICATED
	// alice: 200 {"data":[]}
	// the app's page: 200 my wallet
}
