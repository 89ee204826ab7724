// Program wasm is gridsigner in a browser: it puts the object gridsigner on the
// global scope and waits for calls.
//
// Every function below returns a Promise. It reads its arguments before it
// returns, so a caller may reuse its buffers; it rejects with an Error named
// GridSignerError that has a code of signer/errors.go; and it settles by its
// deadline (timeoutMs, 30 s unless told) or as soon as its AbortSignal fires.
//
//	createKey({curve?})                      SessionKey
//	importKey({curve, privateKey})           SessionKey; zeroes privateKey
//	keys()                                   SessionKey[]
//	removeKey(id)                            boolean
//	signChallenge(challenge, {key, intent?, format?, signal?, timeoutMs?})
//	revokeSession(id, {key, bridgeUrl, headers?, credentials?, signal?, timeoutMs?, onProgress?})
//	listSessions(accountId, {bridgeUrl, headers?, credentials?, signal?, timeoutMs?})
//
// A worker that stores keys has more, see custody_js.go and web/src/custody.ts:
// the options clock and, of signChallenge and revokeSession, organizationId, and
//
//	stateOf(id)                              {handle?, point?, organizationId}
//	lendKey(id, encrypt)                     what encrypt(privateKey) returns, when it does
//	importKey({id, handle, point})           SessionKey of a stored CryptoKey
//	importKey({id, curve, privateKey})       SessionKey, under its earlier id
//
// The types are those of web/src/types.ts.
package main

import "syscall/js"

func main() {
	keys := &keyring{held: map[string]*heldKey{}}
	surface := js.Global().Get("Object").New()
	for name, f := range map[string]function{
		"createKey":     keys.create,
		"importKey":     keys.importKey,
		"keys":          keys.list,
		"removeKey":     keys.remove,
		"signChallenge": keys.signChallenge,
		"revokeSession": keys.revokeSession,
		"listSessions":  listSessions,
		"stateOf":       keys.stateOf,
		"lendKey":       keys.lend,
	} {
		surface.Set(name, export(f))
	}
	js.Global().Set("gridsigner", surface)
	select {} // the module lives as long as its page or worker
}
