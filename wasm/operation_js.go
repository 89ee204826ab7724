package main

import (
	"context"
	"syscall/js"
	"time"

	"gridsigner/signer"
)

// perform(operation, options) resolves to {status, body?, organizationId?}: the JSON of the terminal answer, where it has
// one, and the organization that Grid accepted a signature for.
func (k keyring) perform(call *call) work {
	op, o := signer.Operation(text(call.at(0), "operation")), call.options(1)
	return k.operation(op, signer.Params{
		ID: o.optionalText("id"), Body: o.optionalText("body"), Account: o.optionalText("account"),
		Credential: signer.CredentialType(o.optionalText("credentialType")), Contact: o.optionalText("contact"),
		RequestID: o.optionalText("requestId"), ClientKey: o.optionalText("clientKey"),
	}, o)
}

// revokeSession(id, options) resolves to {status, sessionId, organizationId?}.
func (k keyring) revokeSession(call *call) work {
	id, o := text(call.at(0), "sessionId"), call.options(1)
	do := k.operation(signer.OpRevokeSession, signer.Params{ID: id}, o)
	return func(ctx context.Context) any {
		result := do(ctx).(map[string]any)
		result["sessionId"] = id
		return result
	}
}

// operation reads what an operation needs besides its parameters: the bridge and, where something is signed, a key.
func (k keyring) operation(op signer.Operation, p signer.Params, o fields) work {
	b := bridgeOptions(o)
	b.onProgress = o.function("onProgress")
	var s signing
	if must(op.Judge(p.Body)).Intent.Name != "" {
		s = k.signing(o)
	}
	return func(ctx context.Context) any {
		deadline, _ := ctx.Deadline()
		organization := ""
		done := b.drive(ctx, must(signer.NewRetry(op, p, deadline, random)), func(step signer.Sign) signer.Signed {
			b.report(describeChallenge(step.Challenge))
			s.options.Intent = step.Intent
			signed := s.sign(ctx, step.Challenge)
			organization = signed.Organization
			b.report(map[string]any{"step": "signed", "format": string(signed.Format), "signature": signed.Header})
			return signed
		})
		result := map[string]any{"status": string(done.Status)}
		if done.Body != nil {
			result["body"] = string(done.Body)
		}
		if organization != "" && done.Accepted {
			result["organizationId"] = organization
		}
		return result
	}
}

// drive carries a [signer.Retry] out, with fetch.
func (b *bridge) drive(ctx context.Context, retry *signer.Retry, sign func(signer.Sign) signer.Signed) signer.Done {
	for {
		step := retry.Next()
		// Looked at before patience is: what is known is told.
		if done, ok := step.(signer.Done); ok {
			refuse(done.Err)
			return done
		}
		refuse(ctx.Err())
		switch s := step.(type) {
		case signer.Send:
			if s.Attempt == 1 || s.Reauthenticate {
				b.authenticate(ctx)
			}
			b.send(ctx, retry, s)
		case signer.Sign:
			retry.Signed(sign(s), nil)
		case signer.Wait:
			b.report(map[string]any{"step": "wait", "ms": s.For.Milliseconds(), "reason": s.Reason})
			select {
			case <-time.After(s.For):
			case <-ctx.Done():
			}
			retry.Waited()
		}
	}
}

func (b *bridge) send(ctx context.Context, retry *signer.Retry, s signer.Send) {
	leg := 1
	if s.Signed() {
		leg = 2
	}
	b.report(map[string]any{"step": "request", "leg": leg, "attempt": s.Attempt})
	res, err := b.fetch(ctx, s)
	if err != nil {
		retry.Failed(time.Now(), nil) // the browser's text says nothing that may be shown
		return
	}
	b.report(map[string]any{"step": "response", "leg": leg, "attempt": s.Attempt, "status": res.Status})
	retry.Answered(time.Now(), res)
}

// report calls onProgress. What it throws is the page's own affair and must not end a revocation half-way.
func (b *bridge) report(event map[string]any) {
	if !b.onProgress.IsUndefined() {
		_ = caught(func() { b.onProgress.Invoke(event) })
	}
}

// describeChallenge tells a page what is about to be judged and signed.
func describeChallenge(c signer.Challenge) map[string]any {
	// Date.prototype.toISOString, which the page has anyway.
	expiresAt := js.Global().Get("Date").New(c.ExpiresAt.UnixMilli()).Call("toISOString")
	event := map[string]any{"step": "challenge", "requestId": c.RequestID, "expiresAt": expiresAt, "payload": c.Payload}
	if c.Type != "" {
		event["type"] = c.Type
	}
	// A payload that does not parse is refused a moment later, by name.
	if p, err := signer.ParsePayload(c.Payload); err == nil {
		event["kind"] = string(p.Kind)
		if p.ActivityType != "" {
			event["activityType"] = p.ActivityType
		}
	}
	return event
}
