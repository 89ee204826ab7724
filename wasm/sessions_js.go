package main

import (
	"context"
	"syscall/js"
	"time"

	"gridsigner/signer"
)

// revokeSession drives a [signer.Retry] with fetch.
func (k *keyring) revokeSession(args arguments) (work, error) {
	id, err := args.text(0, "sessionId")
	if err != nil {
		return nil, err
	}
	o, err := args.options(1)
	if err != nil {
		return nil, err
	}
	key, err := k.get(o.property("key"))
	if err != nil {
		return nil, err
	}
	b, err := bridgeOptions(o)
	if err != nil {
		return nil, err
	}
	if err := key.bind(o); err != nil {
		return nil, err
	}
	report, err := reporter(o.property("onProgress"))
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (any, error) {
		deadline, _ := ctx.Deadline()
		retry, err := signer.NewRevocation(id, deadline, random)
		if err != nil {
			return nil, err
		}
		for {
			// Looked at before patience is: what is known is told.
			if done, ok := retry.Next().(signer.Done); ok {
				if done.Err != nil {
					return nil, done.Err
				}
				return map[string]any{"status": string(done.Status), "sessionId": id}, nil
			}
			if err := context.Cause(ctx); err != nil {
				return nil, err
			}
			switch s := retry.Next().(type) {
			case signer.Send:
				send(ctx, retry, s, b, report)
			case signer.Sign:
				report(describeChallenge(s.Challenge))
				signed, err := signer.SignChallenge(ctx, key.Key, s.Challenge, signer.SignOptions{Intent: s.Intent}, b.clock.now())
				if err == nil {
					report(map[string]any{"step": "signed", "format": string(signed.Format), "signature": signed.Header})
				}
				retry.Signed(signed, err)
			case signer.Wait:
				report(map[string]any{"step": "wait", "ms": s.For.Milliseconds(), "reason": s.Reason})
				if err := sleep(ctx, s.For); err != nil {
					return nil, err
				}
				retry.Waited()
			}
		}
	}, nil
}

func send(ctx context.Context, retry *signer.Retry, s signer.Send, b bridge, report func(map[string]any)) {
	leg, extra := 1, map[string]string(nil)
	if s.Signed() {
		leg, extra = 2, map[string]string{signer.HeaderSignature: s.Signature, signer.HeaderRequestID: s.RequestID}
	}
	report(map[string]any{"step": "request", "leg": leg, "attempt": s.Attempt})
	res, err := b.fetch(ctx, s.Method, s.Path, extra)
	if err != nil {
		retry.Failed(time.Now(), nil) // the browser's text says nothing that may be shown
		return
	}
	report(map[string]any{"step": "response", "leg": leg, "attempt": s.Attempt, "status": res.Status})
	retry.Answered(time.Now(), res)
}

// describeChallenge tells a page what is about to be judged and signed.
func describeChallenge(c signer.Challenge) map[string]any {
	event := map[string]any{
		"step": "challenge", "requestId": c.RequestID, "expiresAt": isoDate(c.ExpiresAt), "payload": c.Payload,
	}
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

// isoDate is Date.prototype.toISOString, which the page has anyway.
func isoDate(t time.Time) string {
	return js.Global().Get("Date").New(t.UnixMilli()).Call("toISOString").String()
}

// reporter wraps onProgress. What it throws is the page's own affair and must
// not end a revocation half-way.
func reporter(callback js.Value) (func(map[string]any), error) {
	if absent(callback) {
		return func(map[string]any) {}, nil
	}
	if callback.Type() != js.TypeFunction {
		return nil, invalid("onProgress must be a function")
	}
	return func(event map[string]any) {
		defer func() { _ = recover() }()
		callback.Invoke(event)
	}, nil
}

// listSessions asks for the active sessions of an account (contract 2.2).
func listSessions(args arguments) (work, error) {
	account, err := args.text(0, "accountId")
	if err != nil {
		return nil, err
	}
	if !signer.ValidID("InternalAccount", account) {
		return nil, invalid("accountId must be InternalAccount:<uuid>")
	}
	o, err := args.options(1)
	if err != nil {
		return nil, err
	}
	b, err := bridgeOptions(o)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (any, error) {
		res, err := b.fetch(ctx, "GET", "/auth/sessions?accountId="+encode(account), nil)
		if err != nil {
			return nil, &signer.Error{Kind: signer.ErrNetworkFailed, Msg: "no answer from the bridge"}
		}
		if res.Status != 200 {
			return nil, res.Failure()
		}
		sessions, ok := sessionList(string(res.Body))
		if !ok {
			return nil, &signer.Error{Kind: signer.ErrResponseMalformed, Msg: "the answer is not a list of sessions", Status: res.Status}
		}
		return sessions, nil
	}, nil
}

// sessionList parses {"data":[AuthSession…]} with the browser's JSON and checks
// what a page will build on: that each has an id, and a text expiresAt.
func sessionList(body string) (sessions js.Value, ok bool) {
	defer func() {
		if recover() != nil { // JSON.parse throws
			ok = false
		}
	}()
	sessions = js.Global().Get("JSON").Call("parse", body).Get("data")
	if !sessions.InstanceOf(js.Global().Get("Array")) {
		return sessions, false
	}
	for i := range sessions.Length() {
		s := object{sessions.Index(i)}
		id, err := s.text("id")
		if err != nil || !signer.ValidID("Session", id) {
			return sessions, false
		}
		if _, err := s.text("expiresAt"); err != nil {
			return sessions, false
		}
	}
	return sessions, true
}
