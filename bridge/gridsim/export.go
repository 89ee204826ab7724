package gridsim

import (
	"encoding/hex"
	"net/http"
	"time"
)

// mnemonics are what wallets are exported as, by the order of their accounts.
// They are vectors of BIP-39 itself: valid, known to everybody, and so never
// anybody's wallet.
var mnemonics = []string{
	"legal winner thank year wave sausage worth useful legal winner thank yellow",
	"letter advice cage absurd amount doctor acoustic avoid letter advice cage above",
}

// exportWallet serves POST /internal-accounts/{id}/export: the account's
// mnemonic, sealed to the client's key. Any active session of the account may
// sign. Whatever else a lost answer may be asked for again, this is given once.
func (s *Sim) exportWallet(req request) (operation, error) {
	text, key, err := s.submittedKey(req)
	switch {
	case err != nil:
		return operation{}, err
	case key.sealTo == nil:
		return operation{}, exportKeyCompressed
	case !isID("InternalAccount", req.id):
		return operation{}, walletIDMalformed
	}
	a := s.accounts[req.id]
	if a == nil {
		return operation{}, accountUnknown
	}
	return operation{
		account:    a,
		activity:   "ACTIVITY_TYPE_EXPORT_WALLET",
		parameters: map[string]any{"targetPublicKey": text, "walletId": a.walletID},
		signers:    a.sessions,
		once:       true,
		apply: func(time.Time) (reply, error) {
			credentials, err := s.sealWallet(a, key)
			return reply{http.StatusOK, struct {
				ID          string `json:"id"`
				Credentials string `json:"encryptedWalletCredentials"`
			}{a.id, credentials}}, err
		},
	}, nil
}

// sealWallet makes the envelope of an export.
func (s *Sim) sealWallet(a *account, key clientKey) (string, error) {
	encapsulated, ciphertext, err := seal(key.sealTo, []byte(a.mnemonic))
	if err != nil {
		return "", err
	}
	content := struct {
		Encapsulated string `json:"encappedPublic"`
		Ciphertext   string `json:"ciphertext"`
		Organization string `json:"organizationId"`
	}{hex.EncodeToString(encapsulated), hex.EncodeToString(ciphertext), a.organizationID}
	if s.cfg.SandboxExport {
		return (*enclave)(nil).vouch(content)
	}
	return s.exporter.vouch(content)
}
