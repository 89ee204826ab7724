//go:build !js

package signer_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"gridsigner/bridge/gridsim"
	"gridsigner/signer"
)

// What Grid answers with 202 is signed, and goes back as the headers of the same request. The zero
// SignOptions sign what ends a session, and nothing else.
func ExampleSignChallenge() {
	answer := `{"payloadToSign":"{\"organizationId\":\"org\",\"parameters\":{\"apiKeyIds\":[\"key\"],\"userId\":\"user\"},` +
		`\"timestampMs\":\"1775681700000\",\"type\":\"ACTIVITY_TYPE_DELETE_API_KEYS\"}",` +
		`"requestId":"Request:7c4a8d09-ca37-4e3e-9e0d-8c2b3e9a1f21","expiresAt":"2026-04-08T21:00:00Z"}`
	now := time.Date(2026, 4, 8, 20, 55, 0, 0, time.UTC)

	key, err := signer.GenerateP256() // which the session was made for
	if err != nil {
		log.Fatal(err)
	}
	challenge, err := signer.ParseChallenge([]byte(answer))
	if err != nil {
		log.Fatal(err)
	}
	signed, err := signer.SignChallenge(context.Background(), key, challenge, signer.SignOptions{}, now)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(signer.HeaderRequestID+":", signed.RequestID)

	// The other header is a stamp, which whoever receives it judges so:
	stamp, err := signer.ParseStamp(signed.Header)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ours:", stamp.PublicKey == key.Public())
	fmt.Println("verifies:", stamp.PublicKey.Verify([]byte(challenge.Payload), stamp.Signature))

	_, err = signer.SignChallenge(context.Background(), key, challenge, signer.SignOptions{}, now.Add(5*time.Minute))
	fmt.Println("expired later:", errors.Is(err, signer.ErrChallengeExpired))

	// Output:
	// Request-Id: Request:7c4a8d09-ca37-4e3e-9e0d-8c2b3e9a1f21
	// ours: true
	// verifies: true
	// expired later: true
}

// Whoever relays a challenge can put another in its place. Here a session is to be refreshed for a new
// key, and what comes to be signed is: that; the same for another key; an export of the wallet.
func ExampleIntent_Accept() {
	const (
		next    = "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"
		theirs  = "03c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"
		refresh = `{"organizationId":"org","parameters":{"targetPublicKey":%q},"timestampMs":"1775681700000","type":"ACTIVITY_TYPE_CREATE_READ_WRITE_SESSION_V2"}`
		export  = `{"organizationId":"org","parameters":{"targetPublicKey":%q,"walletId":"wallet"},"timestampMs":"1775681700000","type":"ACTIVITY_TYPE_EXPORT_WALLET"}`
	)
	key, err := signer.GenerateP256() // of the session, which signs
	if err != nil {
		log.Fatal(err)
	}
	intent := signer.Intent{Name: signer.RefreshSession, TargetPublicKey: next}
	for _, text := range []string{fmt.Sprintf(refresh, next), fmt.Sprintf(refresh, theirs), fmt.Sprintf(export, next)} {
		payload, err := signer.ParsePayload(text)
		if err != nil {
			log.Fatal(err)
		}
		err = intent.Accept(payload, key.Public())
		fmt.Println(payload.ActivityType, "refused:", errors.Is(err, signer.ErrIntentMismatch))
	}

	// Output:
	// ACTIVITY_TYPE_CREATE_READ_WRITE_SESSION_V2 refused: false
	// ACTIVITY_TYPE_CREATE_READ_WRITE_SESSION_V2 refused: true
	// ACTIVITY_TYPE_EXPORT_WALLET refused: true
}

// With a one-time code: what it is sealed to must be signed by the enclave, and the token that comes
// back by the key that was sealed with it. The simulator and its client are those of the example of
// [signer.Retry].
func ExampleSealOTP() {
	var code string // as the person reads it
	grid, closeGrid := newGrid(gridsim.Config{SeedEmailOTP: true, Send: func(m gridsim.Message) { code = m.Code }})
	defer closeGrid()

	sent := grid.do(signer.OpChallengeCredential, signer.Params{ID: grid.EmailCredentialID, Body: "{}"}, nil)
	key, err := signer.GenerateP256()
	if err != nil {
		log.Fatal(err)
	}
	// At Grid without the last argument, which names the simulator's enclave.
	sealed, err := signer.SealOTP(context.Background(), signer.HostPrimitives{}, sent.OTPEncryptionTargetBundle, code, key.Public(), grid.OTPSigner)
	if err != nil {
		log.Fatal(err)
	}
	session := grid.do(signer.OpVerifyCredential, signer.Params{
		ID: grid.EmailCredentialID, Account: grid.AccountID,
		Body: object("type", "EMAIL_OTP", "encryptedOtpBundle", sealed),
	}, key)
	grid.do(signer.OpRevokeSession, signer.Params{ID: session.ID}, key)
	key.Destroy()

	// Output:
	// challenge-credential: issued
	// verify-credential: verified
	// revoke-session: revoked
}
