// Package bounded is a map that cannot grow without end, for what strangers make
// grow: it forgets what was used longest ago.
package bounded

import (
	"container/list"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// Map keeps the entries that were used last, as many as its budget holds. It is for
// one goroutine at a time.
type Map[V any] struct {
	budget, used int
	entries      map[string]*list.Element
	order        list.List // the youngest first
}

type entry[V any] struct {
	key   string
	value V
	size  int
}

// EntrySize is what an entry takes beside its value, about: a key of [Key], its
// place in the map and in the order.
const EntrySize = 384

// New returns a map that takes about budget bytes.
func New[V any](budget int) *Map[V] {
	return &Map[V]{budget: budget, entries: map[string]*list.Element{}}
}

// Get returns the value of key, which is thereby used.
func (m *Map[V]) Get(key string) (value V, ok bool) {
	e, ok := m.entries[key]
	if !ok {
		return value, false
	}
	m.order.MoveToFront(e)
	return e.Value.(*entry[V]).value, true
}

// Put sets the value of key, which has size bytes beside [EntrySize]. What does not
// fit any more is forgotten; the newest always fits.
func (m *Map[V]) Put(key string, value V, size int) {
	size += EntrySize
	if e, ok := m.entries[key]; ok { // in its place: a bucket is put with every request
		old := e.Value.(*entry[V])
		m.used += size - old.size
		old.value, old.size = value, size
		m.order.MoveToFront(e)
	} else {
		m.entries[key] = m.order.PushFront(&entry[V]{key, value, size})
		m.used += size
	}
	for m.used > m.budget && m.order.Len() > 1 {
		m.Remove(m.order.Back().Value.(*entry[V]).key)
	}
}

// Remove forgets key.
func (m *Map[V]) Remove(key string) {
	e, ok := m.entries[key]
	if !ok {
		return
	}
	m.used -= m.order.Remove(e).(*entry[V]).size
	delete(m.entries, key)
}

// Len is the number of entries.
func (m *Map[V]) Len() int { return m.order.Len() }

// Key is SHA-256 over parts, each after its length, in hex: no two lists of parts have the
// same one, and it has the same size whatever a client sends.
func Key(parts ...string) string {
	var room [512]byte // what most parts fit into
	text := room[:0]
	for _, part := range parts {
		text = binary.BigEndian.AppendUint64(text, uint64(len(part)))
		text = append(text, part...)
	}
	sum := sha256.Sum256(text)
	var digits [2 * sha256.Size]byte
	hex.Encode(digits[:], sum[:])
	return string(digits[:])
}
