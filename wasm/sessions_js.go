package main

import (
	"context"
	"syscall/js"
	"time"

	"gridsigner/signer"
)

// revokeSession(id, options) resolves to {status, sessionId, organizationId?}, this where Grid accepted a signature for it.
func (k keyring) revokeSession(call *call) work {
	id, o := text(call.at(0), "sessionId"), call.options(1)
	s, b := k.signing(o), bridgeOptions(o)
	b.onProgress = o.function("onProgress")
	return func(ctx context.Context) any {
		organization := ""
		done := b.drive(ctx, signer.NewRevocation, id, func(step signer.Sign) signer.Signed {
			b.report(describeChallenge(step.Challenge))
			s.options.Intent = step.Intent
			signed := s.sign(ctx, step.Challenge)
			organization = signed.Organization
			b.report(map[string]any{"step": "signed", "format": string(signed.Format), "signature": signed.Header})
			return signed
		})
		result := map[string]any{"status": string(done.Status), "sessionId": id}
		if organization != "" && done.Status == signer.Revoked {
			result["organizationId"] = organization
		}
		return result
	}
}

// listSessions asks for the active sessions of an account (contract 2.2).
func listSessions(call *call) work {
	account, b := text(call.at(0), "accountId"), bridgeOptions(call.options(1))
	return func(ctx context.Context) any {
		return sessionList(string(b.drive(ctx, signer.NewSessionList, account, nil).Body))
	}
}

// drive carries a [signer.Retry] out, with fetch.
func (b *bridge) drive(
	ctx context.Context,
	start func(id string, deadline time.Time, jitter func() float64) (*signer.Retry, error), id string,
	sign func(signer.Sign) signer.Signed,
) signer.Done {
	deadline, _ := ctx.Deadline()
	retry := must(start(id, deadline, random))
	for {
		step := retry.Next()
		// Looked at before patience is: what is known is told.
		if done, ok := step.(signer.Done); ok {
			refuse(done.Err)
			return done
		}
		refuse(context.Cause(ctx))
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

// sessionList parses {"data":[AuthSession…]}, of which each must have what a page builds on: an id, a text expiresAt.
func sessionList(body string) (sessions js.Value) {
	err := caught(func() {
		sessions = js.Global().Get("JSON").Call("parse", body).Get("data")
		if !sessions.InstanceOf(js.Global().Get("Array")) {
			panic(invalid("no array"))
		}
		for i := range sessions.Length() {
			s := object{sessions.Index(i)}
			if s.text("expiresAt"); !signer.ValidID("Session", s.text("id")) {
				panic(invalid("no session"))
			}
			// Copied by an app, it would become the copy's prototype.
			js.Global().Get("Reflect").Call("deleteProperty", s.v, "__proto__")
		}
	})
	if err != nil {
		panic(&signer.Error{Kind: signer.ErrResponseMalformed, Msg: "the answer is not a list of sessions", Status: 200})
	}
	return sessions
}
