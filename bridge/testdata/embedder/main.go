// A backend that serves its own pages, and gridsigner's bridge to them.
package main

import (
	"cmp"
	"io"
	"log"
	"net/http"
	"os"

	"gridsigner/bridge"
)

func main() {
	app := http.NewServeMux()
	app.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "my wallet") })

	api, err := bridge.New(bridge.Config{
		Upstream:     os.Getenv("GRID_BASE_URL"), // Grid's production if empty
		Credentials:  func() (string, bridge.Secret, error) { return bridge.CredentialsFromEnv(os.Getenv) },
		Authenticate: whoIs,
		App:          app, // whatever is not below /api/grid
	})
	if err != nil {
		log.Fatal(err)
	}
	server := bridge.NewServer(api)
	server.Addr = cmp.Or(os.Getenv("LISTEN"), "127.0.0.1:8080")
	log.Fatal(server.ListenAndServe())
}

// whoIs is your app's way to know its users, and which accounts of Grid's are theirs.
func whoIs(r *http.Request) (bridge.User, error) {
	cookie, err := r.Cookie("app-session")
	if err != nil {
		return bridge.User{}, bridge.ReasonNoToken
	}
	if session := os.Getenv("APP_SESSION"); session == "" || cookie.Value != session {
		return bridge.User{}, bridge.ReasonAppRefused
	}
	return bridge.User{ID: "alice", Accounts: []string{os.Getenv("APP_ACCOUNT")}}, nil
}
