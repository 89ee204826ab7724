// Program wasm is gridsigner in a browser: it puts the object gridsigner on the global scope and waits for calls.
//
// Every function below returns a Promise. It reads its arguments before it returns, so a caller may reuse its
// buffers; it rejects with an Error named GridSignerError that has a code of signer/errors.go; and it settles by
// its deadline (timeoutMs, 30 s unless told) or as soon as its AbortSignal fires.
//
//	signChallenge(challenge, {key, intent?, format?, payloads?, signal?, timeoutMs?})
//	revokeSession(id, {key, bridgeUrl, headers?, credentials?, payloads?, signal?, timeoutMs?, onProgress?})
//	perform(operation, {id?, body?, account?, credentialType?, contact?, …})
//	                                             any row of signer/operation.go: signer.Params, and the options of revokeSession
//	createKey({curve: "secp256k1"})              {id, curve, publicKey}
//	importKey({curve: "secp256k1", privateKey})  {id, curve, publicKey}; zeroes privateKey
//	removeKey(id)                                boolean
//	checkOtpTarget(bundle, {otpSigners?})        undefined, or rejects: see signer/sealed.go for this and the next three
//	sealOtp(bundle, {otpSigners?, otpCode, publicKey})
//	                                             encryptedOtpBundle
//	openExport(envelope, {publicKey, deriveBits, organizationId, exportSigners?, allowUnsigned?})
//	                                             the mnemonic
//
// A key is what createKey or importKey returned, its id, or, of a P-256 key, {curve, publicKey, sign}: the
// compressed public key in hex, and a function that signs a Uint8Array with ECDSA over SHA-256 and promises r||s.
// headers is an object, or a function of {signal} that promises one.
//
// What is sealed is opened with a P-256 key of WebCrypto's: its public half as 130 hex digits, and a function that
// promises the ArrayBuffer of ECDH with the public key that it gets as a Uint8Array, uncompressed and on the curve. The
// module erases the buffer. Public keys of enclaves are 130 hex digits too. sealOtp takes a compressed key.
//
// Whoever keeps keys has more, see web/src/custody.ts: the options clock, organizationId and allow, and
//
//	lendKey(id, encrypt)                         what encrypt(privateKey) returns, when it does
//	openSessionKey(sealed, {publicKey, deriveBits})
//	                                             the private half, a Uint8Array: for the caller to zero
//
// Challenges, intents, formats and the rest are those of web/src/types.ts.
package main

import "syscall/js"

func main() {
	keys := keyring{}
	surface := js.Global().Get("Object").New()
	for name, f := range map[string]function{
		"createKey":     keys.create,
		"importKey":     keys.importKey,
		"removeKey":     keys.remove,
		"lendKey":       keys.lend,
		"signChallenge": keys.signChallenge,
		"revokeSession": keys.revokeSession,
		"perform":       keys.perform,

		"checkOtpTarget": checkOTPTarget,
		"sealOtp":        sealOTP,
		"openExport":     openExport,
		"openSessionKey": openSessionKey,
	} {
		surface.Set(name, export(f))
	}
	js.Global().Set("gridsigner", surface)
	select {} // the module lives as long as its page or worker
}
