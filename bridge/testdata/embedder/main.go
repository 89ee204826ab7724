// Command embedder is a backend with a bridge in it and users of its own: what its binary
// holds, and how large it is, a test looks at.
package main

import (
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
		Credentials: func() (string, bridge.Secret, error) { return bridge.CredentialsFromEnv(os.Getenv) },
		Authenticate: func(r *http.Request) (bridge.User, error) {
			if cookie, err := r.Cookie("app-session"); err != nil || cookie.Value != os.Getenv("APP_SESSION") {
				return bridge.User{}, bridge.ReasonNoToken
			}
			return bridge.User{ID: "alice", Accounts: []string{os.Getenv("APP_ACCOUNT")}}, nil
		},
		App: app,
	})
	if err != nil {
		log.Fatal(err)
	}
	server := bridge.NewServer(api)
	server.Addr = "127.0.0.1:8080"
	log.Fatal(server.ListenAndServe())
}
