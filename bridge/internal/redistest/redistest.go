// Package redistest is for tests: it starts a Redis that is theirs alone.
package redistest

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
)

// Redis is a redis-server on loopback that keeps nothing on disk. The client is a
// test's own, to look at what there is and to change it; it has no password.
type Redis struct {
	Addr string
	*redis.Client

	t    testing.TB
	args []string
	kill func() // nil while it is gone
}

// Start starts a redis-server with arguments, which ends with the test. Without one
// the test fails: what leaks, what is forged and what replicas share is shown by it.
func Start(t testing.TB, arguments ...string) *Redis {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("needs redis-server: apt-get install redis-server")
	}
	for range 20 { // somebody else may have the port
		port := fmt.Sprint(20000 + rand.IntN(12000))
		r := &Redis{Addr: net.JoinHostPort("127.0.0.1", port), t: t}
		r.args = append([]string{path, "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", t.TempDir()}, arguments...)
		if !r.start() {
			continue
		}
		r.Client = redis.NewClient(&redis.Options{Addr: r.Addr})
		t.Cleanup(func() {
			r.Client.Close()
			r.Kill()
		})
		return r
	}
	t.Fatal("redis-server does not start")
	return nil
}

// start reports whether it has the port, once it is ready.
func (r *Redis) start() bool {
	r.t.Helper()
	cmd := exec.Command(r.args[0], r.args[1:]...)
	output, err := cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	reader := bufio.NewReader(output)
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			cmd.Wait()
			return false
		}
		if strings.Contains(line, "Ready to accept connections") {
			break
		}
	}
	var rest sync.WaitGroup
	rest.Go(func() { io.Copy(io.Discard, reader) })
	r.kill = func() {
		cmd.Process.Kill()
		rest.Wait()
		cmd.Wait()
	}
	return true
}

// Kill has it gone from one moment to the next, with all that it held.
func (r *Redis) Kill() {
	if r.kill != nil {
		r.kill()
		r.kill = nil
	}
}

// Restart has one that was killed come back at the same address.
func (r *Redis) Restart() {
	r.t.Helper()
	if !r.start() {
		r.t.Fatal("redis-server does not start again")
	}
}
