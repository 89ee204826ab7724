package bridge

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"strings"
	"time"

	"gridsigner/signer"
)

// log writes the log line of a request. Its fields are the allow-list of what is logged: no
// ids from the path, no query, no header, no body and no error text, any of which may
// hold a secret of the user's or the operator's.
func (v *visit) log(ctx context.Context, log *slog.Logger) {
	log.LogAttrs(ctx, slog.LevelInfo, "request",
		slog.String("method", v.Method), slog.String("route", v.Route), slog.Int("status", v.Status),
		slog.String("code", v.Code), slog.String("reason", string(v.Reason)), slog.String("user", v.User), slog.String("client", v.Client),
		slog.Duration("took", v.Took), slog.Int("calls", v.Calls), slog.Duration("callsTook", v.CallsTook),
		slog.String("checked", string(v.Checked)), slog.String("correlationId", v.Correlation))
}

// leg is what the audit has of a signed leg: who used a signature, for what, on which
// account, and what came of it at Grid. Ids of sessions, credentials and requests are
// there as a hash under a key, the payload as one that whoever has the payload can
// compare. A passkey's answer has no payload.
type leg struct {
	call    *call
	format  signer.Format // of the signature, or formatPasskey; "" if it was refused
	payload []byte        // SHA-256, nil if no challenge was found

	idHash, requestHash string // made for its first line
	sent                bool   // its line before the call is written
	gridStatus          int    // of Grid's answer, 0 if there was none
	gridRequestID       string // Grid's own name of the call, "" if it said none
	processing          bool   // Grid is not done: the same signature will come again
}

// note keeps for the audit what Grid has begun to answer to c, if that is the signed leg: also
// where nothing of the answer can be used. id is Grid's own name of the call, if it has the
// form of one and repeats none of ours.
func (v *visit) note(c *call, status int, id []string) {
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
	if v.leg == nil || v.leg.call != c {
		return
	}
	v.leg.gridStatus = status
	if len(id) == 1 && id[0] != "" && len(id[0]) <= 128 && strings.Trim(id[0], allowed) == "" &&
		!strings.Contains(c.id+" "+c.headers.Get(signer.HeaderRequestID), id[0]) {
		v.leg.gridRequestID = id[0]
	}
}

// formatPasskey stands for what signs in without a signature header.
const formatPasskey signer.Format = "passkey"

// A signed leg that goes to Grid has two lines in the audit: stageSent before, without
// which it does not go, so that none is missing if Audit keeps what it has taken; and
// stageAnswered with what came of it. One that is refused here has one.
const (
	stageSent     = "sent"
	stageAnswered = "answered"
	stageRefused  = "refused"
)

// auditSent writes the line without which a leg does not go to Grid.
func (b *bridge) auditSent(ctx context.Context, v *visit) error {
	err := b.writeAudit(ctx, v, stageSent)
	v.leg.sent = err == nil
	return err
}

// audit writes the last line of a leg. That one is missing is no reason to keep the
// answer from the client, but one to say so.
func (b *bridge) audit(ctx context.Context, v *visit) {
	if v.leg == nil {
		return
	}
	stage := stageRefused
	if v.leg.sent {
		stage = stageAnswered
	}
	ctx = context.WithoutCancel(ctx) // whoever has gone is in the audit all the same
	if err := b.writeAudit(ctx, v, stage); err != nil {
		b.Log.LogAttrs(ctx, slog.LevelError, "the audit takes no line", slog.String("stage", stage), slog.String("correlationId", v.Correlation))
	}
}

func (b *bridge) writeAudit(ctx context.Context, v *visit, stage string) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("bridge: the audit panicked")
		}
	}()
	l := v.leg
	if l.idHash == "" {
		l.idHash, l.requestHash = b.hash(l.call.id), b.hash(l.call.headers.Get(signer.HeaderRequestID))
	}
	var room [18]slog.Attr
	says := append(room[:0],
		slog.String("stage", stage), slog.String("user", v.User), slog.String("account", l.call.account),
		slog.String("method", v.Method), slog.String("route", v.Route), slog.String("intent", string(l.call.route.Intent)),
		slog.String("idHash", l.idHash), slog.String("requestHash", l.requestHash),
		slog.String("payloadSha256", hex.EncodeToString(l.payload)), slog.String("format", string(l.format)), slog.String("checked", string(v.Checked)))
	if stage != stageSent {
		says = append(says, slog.Int("status", v.Status), slog.String("code", v.Code), slog.String("reason", string(v.Reason)))
	}
	if stage == stageAnswered {
		says = append(says, slog.Int("gridStatus", l.gridStatus), slog.String("gridRequestId", l.gridRequestID), slog.Bool("processing", l.processing))
	}
	line := slog.NewRecord(time.Now(), slog.LevelInfo, "audit", 0)
	line.AddAttrs(append(says, slog.String("correlationId", v.Correlation))...)
	return b.Audit.Handle(ctx, line)
}
