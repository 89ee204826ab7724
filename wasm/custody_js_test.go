package main

import (
	"encoding/hex"
	"strings"
	"syscall/js"
	"testing"
	"time"

	"gridsigner/signer"
)

func TestStoredP256KeyComesBack(t *testing.T) {
	key := must(t, "createKey")
	state := must(t, "stateOf", key.Get("id"))
	if handle := state.Get("handle"); handle.Get("extractable").Bool() || handle.Get("type").String() != "private" {
		t.Error("the handle is not a private key that stays where it is")
	}
	stored := map[string]any{"id": key.Get("id"), "handle": state.Get("handle"), "point": state.Get("point")}
	must(t, "removeKey", key.Get("id"))

	again := must(t, "importKey", stored)
	for _, name := range []string{"id", "curve", "publicKey", "protection"} {
		if got, want := again.Get(name).String(), key.Get(name).String(); got != want {
			t.Errorf("%s = %s, want %s", name, got, want)
		}
	}
	s := must(t, "signChallenge", newChallenge(), map[string]any{"key": again})
	verify(t, s.Get("signature").String(), key.Get("publicKey").String())
	for _, bad := range []any{nil, "00", uint8Array.New(64)} {
		stored["point"] = bad
		if _, f := invoke(t, "importKey", stored); f == nil {
			t.Errorf("a point of %v is taken", bad)
		}
	}
}

func TestLendKey(t *testing.T) {
	key, _, f := importKey(t, "secp256k1", fixtureP256)
	if f != nil {
		t.Fatal(f.code())
	}
	var lent js.Value
	var got string
	encrypt := js.FuncOf(func(_ js.Value, args []js.Value) any {
		lent, got = args[0], hex.EncodeToString(bytesOf(args[0]))
		return js.Global().Get("Promise").Call("resolve", "ciphertext")
	})
	defer encrypt.Release()
	if v := must(t, "lendKey", key.Get("id"), encrypt); v.String() != "ciphertext" {
		t.Errorf("resolved to %v", v)
	}
	if got != fixtureP256 {
		t.Errorf("lent %s", got)
	}
	if left := hex.EncodeToString(bytesOf(lent)); left != strings.Repeat("00", 32) {
		t.Error("the lent bytes are not zeroed")
	}
	wantCode(t, signer.ErrInternal, "lendKey", key.Get("id"), eval("() => { throw 1 }"))
	wantCode(t, signer.ErrKeyNotFound, "lendKey", must(t, "createKey").Get("id"), encrypt)
}

func TestImportKeepsTheID(t *testing.T) {
	raw, _ := hex.DecodeString(fixtureP256)
	const id = "00112233445566778899aabbccddeeff"
	key := must(t, "importKey", map[string]any{"curve": "secp256k1", "id": id, "privateKey": toUint8Array(raw)})
	if got := key.Get("id").String(); got != id {
		t.Errorf("id = %s", got)
	}
	// Given back once more it is still one key, and one removal ends it.
	count := must(t, "keys").Length()
	raw, _ = hex.DecodeString(fixtureP256)
	must(t, "importKey", map[string]any{"curve": "secp256k1", "id": id, "privateKey": toUint8Array(raw)})
	if got := must(t, "keys").Length(); got != count {
		t.Errorf("%d keys, want %d", got, count)
	}
	must(t, "removeKey", id)
	if got := must(t, "keys").Length(); got != count-1 {
		t.Errorf("%d keys are left, want %d", got, count-1)
	}
}

func TestOrganizationOfAnEarlierLife(t *testing.T) {
	key := must(t, "createKey", map[string]any{"curve": "secp256k1"})
	wantCode(t, signer.ErrOrganizationMismatch, "signChallenge", newChallenge(), map[string]any{"key": key, "organizationId": "org_other"})
	if got := must(t, "stateOf", key.Get("id")).Get("organizationId").String(); got != "org_other" {
		t.Errorf("organization = %s", got)
	}
}

// The clock that judges is the one that is handed in, in both directions.
func TestClockOption(t *testing.T) {
	key := must(t, "createKey", map[string]any{"curve": "secp256k1"})
	at := func(offset time.Duration) map[string]any {
		ms := time.Now().Add(offset).UnixMilli()
		return map[string]any{"key": key, "clock": eval("ms => ({ now: () => ms, learn() {} })").Invoke(ms)}
	}
	wantCode(t, signer.ErrChallengeExpired, "signChallenge", newChallenge(), at(time.Hour))
	old := newChallenge()
	old["expiresAt"] = time.Now().Add(-30 * time.Minute).UTC().Format(time.RFC3339)
	must(t, "signChallenge", old, at(-time.Hour))
}
