package bridge

import (
	"sync"
	"time"
)

// knownUsers remembers for a while whose credentials were good. Its keys are
// hashes: what it holds lets nobody in.
type knownUsers struct {
	now func() time.Time

	mu    sync.Mutex
	users generations[knownUser]
}

type knownUser struct {
	user  User
	until time.Time
}

func (k *knownUsers) get(key string) (User, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	known, ok := k.users.get(key)
	return known.user, ok && k.now().Before(known.until)
}

func (k *knownUsers) put(key string, user User, until time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	size := len(user.ID)
	for _, account := range user.Accounts {
		size += len(account) + 16 // and the string's header
	}
	k.users.put(key, knownUser{user, until}, size)
}
