package gridsim

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// openExport opens an export as a client does, and checks who vouches for it:
// signer, or nobody if that is "".
func openExport(t testing.TB, a answer, to *ecdh.PrivateKey, signer string) (mnemonic string) {
	t.Helper()
	var envelope struct{ Version, Data, DataSignature, EnclaveQuorumPublic *string }
	if err := json.Unmarshal([]byte(a.text("encryptedWalletCredentials")), &envelope); err != nil || envelope.Version == nil ||
		envelope.Data == nil || envelope.DataSignature == nil || envelope.EnclaveQuorumPublic == nil || *envelope.Version != "v1.0.0" {
		t.Fatalf("%s: %v", a.raw, err)
	}
	data := unhex(t, *envelope.Data)
	if *envelope.EnclaveQuorumPublic != signer {
		t.Errorf("it is signed by %q, want %q", *envelope.EnclaveQuorumPublic, signer)
	}
	if signer == "" {
		if *envelope.DataSignature != "" {
			t.Errorf("it is signed: %s", a.raw)
		}
	} else {
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), unhex(t, signer))
		if err != nil {
			t.Fatal(err)
		}
		if digest := sha256.Sum256(data); !ecdsa.VerifyASN1(key, digest[:], unhex(t, *envelope.DataSignature)) {
			t.Error("the signature does not verify")
		}
	}
	var content struct{ EncappedPublic, Ciphertext, OrganizationID string }
	if err := json.Unmarshal(data, &content); err != nil || content.OrganizationID != "org_sim" || !strings.HasPrefix(content.EncappedPublic, "04") {
		t.Fatalf("%s: %v", data, err)
	}
	private, err := hpke.NewDHKEMPrivateKey(to)
	if err != nil {
		t.Fatal(err)
	}
	encapsulated := unhex(t, content.EncappedPublic)
	recipient, err := hpke.NewRecipient(encapsulated, private, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte("turnkey_hpke"))
	if err != nil {
		t.Fatal(err)
	}
	plaintext, err := recipient.Open(slices.Concat(encapsulated, to.PublicKey().Bytes()), unhex(t, content.Ciphertext))
	if err != nil {
		t.Fatal(err)
	}
	return string(plaintext)
}

// TestExport exports a wallet by a session of either credential, in production's
// form and in the sandbox's.
func TestExport(t *testing.T) {
	for _, sandbox := range []bool{false, true} {
		for _, credential := range []string{credential1, credential2} {
			w, k, to := newWorld(t, Config{SandboxExport: sandbox}), newP256(t), newECDH(t)
			w.signIn(credential, k)
			a := w.signed(k, "POST", exportPath(seedAccountID), refreshBody(hex.EncodeToString(to.PublicKey().Bytes())))
			a.want(t, 200, "")
			signer := w.sim.Seed().ExportSigner
			if sandbox {
				signer = ""
			}
			const want = "legal winner thank year wave sausage worth useful legal winner thank yellow"
			if got := openExport(t, a, to, signer); got != want || len(a.body) != 2 || a.text("id") != seedAccountID {
				t.Errorf("got %q in %s, want %q", got, a.raw, want)
			}
		}
	}
}

func TestExportRefusals(t *testing.T) {
	s := newState(t, Config{}, signedOps[4])
	good := s.body
	for name, test := range map[string]struct {
		path, body string
		status     int
		reason     reason
	}{
		"compressed":      {s.path, refreshBody(s.k1.public), 400, exportKeyCompressed},
		"no-key":          {s.path, "{}", 400, clientKeyMissing},
		"key-malformed":   {s.path, refreshBody("04"), 400, clientKeyMalformed},
		"key-off-curve":   {s.path, refreshBody("04" + strings.Repeat("01", 64)), 400, clientKeyOffCurve},
		"no-body":         {s.path, "", 400, contentTypeWrong},
		"unknown":         {exportPath("InternalAccount:00000000-0000-0000-0000-000000000000"), good, 404, accountUnknown},
		"id-of-a-session": {exportPath(s.s1), good, 400, walletIDMalformed},
	} {
		if a := s.send("POST", test.path, test.body); a.status != test.status || a.reason() != test.reason {
			t.Errorf("%s: %d %s, want %d %s", name, a.status, a.raw, test.status, test.reason)
		}
	}
	s.body = refreshBody(s.k2.uncompressed(t))
	if a := s.leg2(s.k1.stamp(s.payload), s.id); a.reason() != boundBodyDiffers {
		t.Errorf("another key on leg 2: %d %s", a.status, a.raw)
	}
	s.body, s.path = good, exportPath(accountX)
	if a := s.leg2(s.kX.stamp(s.payload), s.id); a.reason() != challengeElsewhere {
		t.Errorf("the challenge of another account: %d %s", a.status, a.raw)
	}
}

// TestExportIsDeliveredOnce tests that an export that Grid settled by itself waits
// for who asks, and is then gone.
func TestExportIsDeliveredOnce(t *testing.T) {
	s := newState(t, Config{ProcessingReplies: 1}, signedOps[4])
	stamp := s.k1.stamp(s.payload)
	wantProcessing(t, s.leg2(stamp, s.id))
	s.clock.advance(s.sim.cfg.ProcessingTime)
	s.listed(seedAccountID)
	s.leg2(stamp, s.id).want(t, http.StatusOK, "")
	if a := s.leg2(stamp, s.id); a.reason() != challengeConsumed {
		t.Errorf("again: %d %s", a.status, a.raw)
	}
}
