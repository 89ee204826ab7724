//go:build unix

package main

import "syscall"

// fileLimit is how many files this process may have open.
func fileLimit() uint64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0 // the least is assumed
	}
	return uint64(limit.Cur) // signed on some systems
}
