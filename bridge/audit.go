package bridge

import (
	"context"
	"encoding/hex"
	"log/slog"
	"time"

	"gridsigner/signer"
)

// entry is the log line of one request: the allow-list of what is logged. It
// has no ids from the path, no query, no header, no body and no error text,
// any of which may hold a secret of the user's or the operator's.
type entry struct {
	method, route string // of the allow-list: never text of the client's
	user          string
	correlation   string
	trace         string // id of the client's trace, 32 hex digits, or ""
	status        int
	code          string // of the bridge's own refusal, "" if Grid answered
	signed        *event // nil unless it was a signed leg, or a passkey's answer
}

func (e *entry) log(ctx context.Context, log *slog.Logger, took time.Duration) {
	log.LogAttrs(ctx, slog.LevelInfo, "request",
		slog.String("method", e.method), slog.String("route", e.route), slog.Int("status", e.status),
		slog.String("code", e.code), slog.String("user", e.user), slog.Duration("took", took),
		slog.String("correlationId", e.correlation), slog.String("traceId", e.trace))
	if e.signed != nil {
		e.signed.log(ctx, log, e)
	}
}

// event is what the audit line of a signed leg has beside the log line: who
// used a signature, for what, on which account, and what came of it. The
// payload is there as a hash, which whoever has the payload can compare. A
// passkey's answer has none.
type event struct {
	account string // "" if it was refused before that was known
	intent  signer.IntentName
	format  signer.Format // of the signature, or formatPasskey; "" if it was refused
	payload []byte        // SHA-256, nil if no challenge was found

	processing bool // Grid is not done: the same signature will come again
}

// formatPasskey stands for what signs in without a signature header.
const formatPasskey signer.Format = "passkey"

func (v *event) log(ctx context.Context, log *slog.Logger, e *entry) {
	log.LogAttrs(ctx, slog.LevelInfo, "audit",
		slog.String("user", e.user), slog.String("account", v.account),
		slog.String("method", e.method), slog.String("route", e.route), slog.String("intent", string(v.intent)),
		slog.String("payloadSha256", hex.EncodeToString(v.payload)), slog.String("format", string(v.format)),
		slog.Int("status", e.status), slog.Bool("processing", v.processing), slog.String("code", e.code), slog.String("correlationId", e.correlation))
}
