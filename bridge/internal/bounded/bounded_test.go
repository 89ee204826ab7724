package bounded

import (
	"strconv"
	"testing"
)

// TestMapForgetsWhatWasUsedLongestAgo fills a map and uses some of it meanwhile.
func TestMapForgetsWhatWasUsedLongestAgo(t *testing.T) {
	m := New[int](4 * EntrySize)
	for i := range 4 {
		m.Put(strconv.Itoa(i), i, 0)
	}
	m.Get("0")
	m.Put("1", 11, 0)
	m.Put("4", 4, EntrySize) // takes the place of two
	for key, want := range map[string]int{"0": 0, "1": 11, "2": -1, "3": -1, "4": 4} {
		if got, ok := m.Get(key); ok != (want >= 0) || ok && got != want {
			t.Errorf("%s = %d, %t, want %d", key, got, ok, want)
		}
	}
}

// TestMapCountsWhatIsThere has entries come and go: what is gone takes no room.
func TestMapCountsWhatIsThere(t *testing.T) {
	m := New[int](2 * EntrySize)
	m.Put("kept", 1, 0)
	for range 100 {
		m.Put("other", 1, 0)
		m.Remove("other")
		m.Remove("other")
	}
	for _, v := range []struct{ size, want int }{{10, EntrySize + 10}, {1000, EntrySize + 1000}, {0, EntrySize}} {
		n := New[int](1 << 20)
		n.Put("key", 0, 5)
		if n.Put("key", 0, v.size); n.used != v.want || n.Len() != 1 {
			t.Errorf("after an entry of %d bytes used = %d of %d entries, want %d of 1", v.size, n.used, n.Len(), v.want)
		}
	}
	if _, ok := m.Get("kept"); !ok {
		t.Error("an entry was pushed out by ones that are gone")
	}
	m.Put("huge", 1, 1<<20)
	if _, ok := m.Get("huge"); !ok || m.Len() != 1 {
		t.Error("the newest entry does not fit")
	}
}

// TestKeyTellsPartsApart holds that no two lists of parts have the same key.
func TestKeyTellsPartsApart(t *testing.T) {
	if Key("a", "bc") == Key("ab", "c") || Key("a") == Key("a", "") || len(Key("a")) != 64 {
		t.Error("two lists of parts have one key")
	}
}
