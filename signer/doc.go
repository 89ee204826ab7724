// Package signer signs the challenges of Lightspark Grid's embedded wallets
// with a session private key, and drives the two-step signed retry that they
// belong to. It does no I/O and has no clock: it is the part of gridsigner that
// decides, and the same code decides in the browser, in the bridge and in a Go
// program.
//
// Start with [SignChallenge] for one signature, or [NewRetry] for the whole of an
// [Operation], of which [NewRevocation] is one: what ends a session.
//
// # What is signed
//
// ECDSA over SHA-256 of the exact UTF-8 bytes of payloadToSign, as the JSON string
// decodes (Grid's guide Client keys). The payload is parsed to judge it, and what
// was parsed is thrown away: text that was read and written again can differ in the
// order of names, in escapes or in blanks, and would not verify.
//
// # What is refused
//
// A payload is relayed by a backend that this package does not trust. Each
// signature is bound to an [Intent], checked before signing; what is not
// understood completely is refused. The one text without a meaning that is
// signed, for the Grid of April 2026, is canonical base64, and as DER alone. See
// [ParsePayload] and [Intent.Accept].
//
// A [Key] remembers nothing of what it signed. That a session key belongs to
// one organization is for its keeper to say: [SignOptions] and [Signed].
//
// # What is sealed
//
// One-time codes, exported wallets and the session keys that Grid makes are sealed
// with HPKE (RFC 9180): [SealOTP], [OpenExport], [OpenSessionKey]. What an enclave
// says counts if a pinned key has signed it: a code is sealed to no other. The
// cryptography is the platform's: [Primitives].
//
// # Signatures
//
// On secp256k1, and on P-256 in this process, signatures are deterministic (RFC
// 6979). Those on secp256k1 have the lower s, those on P-256 either: half of
// WebCrypto's have the upper, Grid accepts both, and so does [PublicKey.Verify].
//
// Whoever judges signatures is a Go program on a host: ParsePublicKey, Verify,
// ParseStamp, ParseDERHeader and keys of P-256 are not there in WebAssembly, where
// the arithmetic of P-256 would add 100 kB to a module that calls none of them.
//
// Signing on secp256k1 takes a time that varies a little with the nonce: the
// library's multiplication by the base point is not constant-time. Everything after
// it is, the inverse of the nonce above all. What is left matters
// to an attacker who can time single signatures closely; P-256 has no such gap.
//
// # Memory
//
// Neither Go nor WebAssembly can promise that a secret is gone from memory: the
// garbage collector may have copied it, stacks grow by copying, and WebAssembly's
// memory never shrinks. [Key.Destroy] overwrites what it can reach, which of a P-256
// key in this process is nothing. To be sure, end the process or the worker. In the
// browser no P-256 key is here at all: [NewKey] takes a function that signs.
//
// # Errors
//
// Every error that a caller can act on is an [*Error] with a [Kind]. Use
// errors.Is(err, signer.ErrChallengeExpired) to tell them apart, never the
// text. No error holds key bytes, or more of a payload than its activity type.
//
// # Sources
//
// Comments cite Grid's documentation (github.com/lightsparkdev/grid-api), by route
// or schema or the title of a guide, and github.com/tkhq/sdk for Turnkey's enclaves.
package signer
