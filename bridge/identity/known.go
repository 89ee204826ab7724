package identity

import (
	"sync"
	"time"

	"gridsigner/bridge"
	"gridsigner/bridge/internal/bounded"
)

// knownBudget bounds what [knownUsers] remembers, in bytes.
const knownBudget = 8 << 20

// knownUsers remembers for a while whose credentials were good. Its keys are
// hashes: what it holds lets nobody in.
type knownUsers struct {
	now func() time.Time

	mu    sync.Mutex
	users *bounded.Map[knownUser]
}

type knownUser struct {
	user  bridge.User
	until time.Time
}

func newKnownUsers(now func() time.Time) *knownUsers {
	return &knownUsers{now: now, users: bounded.New[knownUser](knownBudget)}
}

func (k *knownUsers) get(key string) (bridge.User, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	known, ok := k.users.Get(key)
	return known.user, ok && k.now().Before(known.until)
}

func (k *knownUsers) put(key string, user bridge.User, until time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	size := len(user.ID)
	for _, account := range user.Accounts {
		size += len(account) + 16 // and the string's header
	}
	k.users.Put(key, knownUser{user, until}, size)
}
