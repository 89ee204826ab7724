package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
)

// socketPrefix is what the address of a Unix socket begins with. Its path follows.
const socketPrefix = "unix:"

// maxSocketPath is what fits into an address of the system's, with the zero at its end.
const maxSocketPath = 107

// listenOn listens on an address of a flag: HOST:PORT, or unix:PATH.
func listenOn(address string) (net.Listener, error) {
	path, ok := strings.CutPrefix(address, socketPrefix)
	if !ok {
		return net.Listen("tcp", address)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	ln, err := net.Listen("unix", path) // whose Close removes the file
	if err == nil {
		err = os.Chmod(path, 0o660) // for the group of the server in front
	}
	return ln, err
}

// removeStale removes the socket that a process which was killed has left at path.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("%s is there, and is no socket", path)
	}
	conn, err := net.Dial("unix", path)
	switch {
	case err == nil:
		conn.Close()
		return fmt.Errorf("another process answers on %s", path)
	case !errors.Is(err, syscall.ECONNREFUSED): // it may have too much to do, or be another user's
		return err
	}
	return os.Remove(path)
}
