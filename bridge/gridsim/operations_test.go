package gridsim

import "testing"

// signedOp is a signed operation as the tests that are the same for all of them
// see it: one that the key of S1 may sign, and that of kX may not.
type signedOp struct {
	name    string
	request func(s state) (method, path, body string)
	done    int // status of success

	kind, activity, parameters string // of the challenge; parameters is a pattern

	replayed reason // why the challenge is of no use after its success
	repeated reason // why another challenge for the same is not; "" if it is
}

// once tells whether it changes nothing that is listed, and has an answer for one
// request only.
func (op signedOp) once() bool { return op.name == "export-wallet" }

// byToken tells whether a token is signed, and by a key that is no session's, for
// which nothing stands.
func (op signedOp) byToken() bool { return op.name == "sign-in-by-code" }

var signedOps = []signedOp{
	{
		"revoke-session", func(s state) (string, string, string) { return "DELETE", sessionPath(s.s1), "" }, 204,
		"OAUTH", "ACTIVITY_TYPE_DELETE_API_KEYS", `\{"apiKeyIds":\["api_key_[0-9a-f]{32}"\],"userId":"user_sim"\}`,
		sessionNotActive, sessionNotActive,
	},
	{
		"refresh-session", func(s state) (string, string, string) {
			return "POST", refreshOf(s.s1), refreshBody(newP256(s.t).public)
		}, 201,
		"", "ACTIVITY_TYPE_CREATE_READ_WRITE_SESSION_V2", `\{"targetPublicKey":"0[23][0-9a-f]{64}"\}`,
		challengeConsumed, "",
	},
	{
		"add-credential", func(state) (string, string, string) {
			return "POST", "/auth/credentials", `{"type":"EMAIL_OTP","accountId":"` + seedAccountID + `"}`
		}, 201,
		"EMAIL_OTP", "ACTIVITY_TYPE_UPDATE_USER_EMAIL", `\{"userEmail":"ada@example.com","userId":"user_sim"\}`,
		challengeConsumed, emailOTPExists,
	},
	{
		"remove-credential", func(state) (string, string, string) { return "DELETE", "/auth/credentials/" + credential2, "" }, 204,
		"OAUTH", "ACTIVITY_TYPE_DELETE_OAUTH_PROVIDERS", `\{"providerIds":\["credential_x"\],"userId":"user_sim"\}`,
		credentialUnknown, credentialUnknown,
	},
	{
		"export-wallet", func(s state) (string, string, string) {
			return "POST", exportPath(seedAccountID), refreshBody(newP256(s.t).uncompressed(s.t))
		}, 200,
		"", "ACTIVITY_TYPE_EXPORT_WALLET", `\{"targetPublicKey":"04[0-9a-f]{128}","walletId":"wallet_[0-9a-f]{32}"\}`,
		challengeConsumed, "",
	},
	{
		// The code is sealed with the key of S1, which may sign therefore.
		"sign-in-by-code", func(s state) (string, string, string) {
			id, target := s.addSMSOTP()
			sealed := sealing{}.sealTo(s.t, targetKey(s.t, target), otpContent(s.lastCode(), s.k1.public))
			return "POST", verifyPath(id), otpVerifyBody(s.t, "SMS_OTP", sealed)
		}, 200,
		"SMS_OTP", "", "",
		challengeConsumed, otpUsed,
	},
}

// addSMSOTP gives the account a way to sign in by codes, and sends one.
func (w *world) addSMSOTP() (credentialID, target string) {
	w.t.Helper()
	w.sim.mu.Lock()
	defer w.sim.mu.Unlock()
	c := &credential{
		id: "AuthMethod:00000000-0000-0000-0000-00000000000c", kind: typeSMSOTP, nickname: customerPhone,
		account: w.sim.accounts[seedAccountID], payloadID: "credential_c", created: w.clock.now(),
	}
	w.sim.keepCredential(c)
	target, err := w.sim.sendCode(c, w.clock.now())
	if err != nil {
		w.t.Fatal(err)
	}
	return c.id, target
}

// state is a world in which k1 is signed in as S1, by credential 1, and k2 as S2,
// by credential 2, on the account, and kX on another one, and with a challenge
// for an operation.
type state struct {
	*world
	k1, k2, kX         key
	s1, s2, sX         string
	method, path, body string
	payload, id        string
}

func newState(t testing.TB, cfg Config, op signedOp) state {
	t.Helper()
	return newStateWith(t, cfg, op, newP256)
}

// newStateWith is newState with keys of a curve.
func newStateWith(t testing.TB, cfg Config, op signedOp, newKey func(testing.TB) key) state {
	t.Helper()
	s := state{world: newWorld(t, cfg), k1: newKey(t), k2: newKey(t), kX: newKey(t)}
	s.s1, s.s2, s.sX = s.signIn(credential1, s.k1), s.signIn(credential2, s.k2), s.signIn(credentialX, s.kX)
	s.method, s.path, s.body = op.request(s)
	s.payload, s.id = s.leg1()
	return s
}

func (s state) leg1() (payload, requestID string) {
	s.t.Helper()
	return s.world.leg1(s.method, s.path, s.body)
}

func (s state) leg2(signature, requestID string) answer {
	s.t.Helper()
	return s.send(s.method, s.path, s.body, headerSignature, signature, headerRequestID, requestID)
}
