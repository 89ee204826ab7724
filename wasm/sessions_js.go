package main

import (
	"context"
	"syscall/js"
	"time"

	"gridsigner/signer"
)

// revokeSession(id, options) resolves to {status, sessionId, organizationId?}: the
// last where Grid has accepted a signature for it.
func (k keyring) revokeSession(args arguments) work {
	id, o := text(args.at(0), "sessionId"), args.options(1)
	s, b, report := k.signing(o), bridgeOptions(o), reporter(o)
	return func(ctx context.Context) (any, error) {
		deadline, _ := ctx.Deadline()
		retry, err := signer.NewRevocation(id, deadline, random)
		if err != nil {
			return nil, err
		}
		organization := ""
		done, err := b.drive(ctx, retry, report, func(step signer.Sign) (signer.Signed, error) {
			report(describeChallenge(step.Challenge))
			s.options.Intent = step.Intent
			signed, err := s.sign(ctx, step.Challenge)
			if err == nil {
				organization = signed.Organization
				report(map[string]any{"step": "signed", "format": string(signed.Format), "signature": signed.Header})
			}
			return signed, err
		})
		if err != nil {
			return nil, err
		}
		result := map[string]any{"status": string(done.Status), "sessionId": id}
		if organization != "" && done.Status == signer.Revoked {
			result["organizationId"] = organization
		}
		return result, nil
	}
}

// listSessions asks for the active sessions of an account (contract 2.2).
func listSessions(args arguments) work {
	account, b := text(args.at(0), "accountId"), bridgeOptions(args.options(1))
	return func(ctx context.Context) (any, error) {
		deadline, _ := ctx.Deadline()
		retry, err := signer.NewSessionList(account, deadline, random)
		if err != nil {
			return nil, err
		}
		done, err := b.drive(ctx, retry, func(map[string]any) {}, nil)
		if err != nil {
			return nil, err
		}
		sessions, err := sessionList(string(done.Body))
		if err != nil {
			return nil, &signer.Error{Kind: signer.ErrResponseMalformed, Msg: "the answer is not a list of sessions", Status: 200}
		}
		return sessions, nil
	}
}

// drive carries a [signer.Retry] out, with fetch.
func (b *bridge) drive(ctx context.Context, retry *signer.Retry, report func(map[string]any), sign func(signer.Sign) (signer.Signed, error)) (signer.Done, error) {
	if err := b.authenticate(ctx); err != nil {
		return signer.Done{}, err
	}
	for {
		// Looked at before patience is: what is known is told.
		if done, ok := retry.Next().(signer.Done); ok {
			return done, done.Err
		}
		if err := context.Cause(ctx); err != nil {
			return signer.Done{}, err
		}
		switch s := retry.Next().(type) {
		case signer.Send:
			if s.Reauthenticate {
				if err := b.authenticate(ctx); err != nil {
					return signer.Done{}, err
				}
			}
			b.send(ctx, retry, s, report)
		case signer.Sign:
			retry.Signed(sign(s))
		case signer.Wait:
			report(map[string]any{"step": "wait", "ms": s.For.Milliseconds(), "reason": s.Reason})
			if err := sleep(ctx, s.For); err != nil {
				return signer.Done{}, err
			}
			retry.Waited()
		}
	}
}

func (b *bridge) send(ctx context.Context, retry *signer.Retry, s signer.Send, report func(map[string]any)) {
	leg := 1
	if s.Signed() {
		leg = 2
	}
	report(map[string]any{"step": "request", "leg": leg, "attempt": s.Attempt})
	res, err := b.fetch(ctx, s)
	if err != nil {
		retry.Failed(time.Now(), nil) // the browser's text says nothing that may be shown
		return
	}
	report(map[string]any{"step": "response", "leg": leg, "attempt": s.Attempt, "status": res.Status})
	retry.Answered(time.Now(), res)
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

// reporter wraps onProgress. What it throws is the page's own affair and must
// not end a revocation half-way.
func reporter(o object) func(map[string]any) {
	callback := o.function("onProgress")
	return func(event map[string]any) {
		if !callback.IsUndefined() {
			_ = caught(func() { callback.Invoke(event) })
		}
	}
}

// sessionList parses {"data":[AuthSession…]} with the browser's JSON and checks
// what a page will build on: that each has an id, and a text expiresAt.
func sessionList(body string) (sessions js.Value, err error) {
	err = caught(func() {
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
	return sessions, err
}
