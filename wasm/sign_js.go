package main

import (
	"context"
	"syscall/js"
	"time"

	"gridsigner/signer"
)

// signing is what a call signs with, and under which conditions.
type signing struct {
	key     *signer.Key
	options signer.SignOptions
	clock   clock
}

// signing reads {key, payloads?, organizationId?, allow?, clock?}. allow has the last word: the key may have ended since.
func (k keyring) signing(o fields) signing {
	s := signing{key: k.key(o.property("key")), clock: clockOption(o)}
	s.options.Payloads = signer.Payloads(o.optionalText("payloads"))
	s.options.Organization = o.optionalText("organizationId")
	if allow := o.function("allow"); !allow.IsUndefined() {
		s.options.Allow = func(ctx context.Context) error {
			_, err := callback(ctx, internal(), allow)
			return err
		}
	}
	return s
}

func (s signing) sign(ctx context.Context, c signer.Challenge) signer.Signed {
	return must(signer.SignChallenge(ctx, s.key, c, s.options, s.clock.now()))
}

func (k keyring) signChallenge(call *call) work {
	c, o := challenge(call.at(0)), call.options(1)
	s := k.signing(o)
	s.options.Intent = intent(o.property("intent"))
	s.options.Format = signer.Format(o.optionalText("format"))
	return func(ctx context.Context) any {
		signed := s.sign(ctx, c)
		return map[string]any{
			"headers":   map[string]any{signer.HeaderSignature: signed.Header, signer.HeaderRequestID: signed.RequestID},
			"signature": signed.Header,
			"requestId": signed.RequestID,
			"format":    string(signed.Format),
			"intent":    string(signed.Intent),
		}
	}
}

// clock is what the worker knows of the server's time, see web/src/clock.ts; without one it is this device's own.
type clock struct{ object }

func clockOption(o fields) clock { return clock{asObject(o.property("clock"), "clock")} }

func (c clock) now() time.Time {
	if c.v.IsUndefined() {
		return time.Now()
	}
	return time.UnixMilli(int64(c.invoke("now").Float()))
}

// learn passes on the Date of an answer, null where there is none to be read.
func (c clock) learn(date js.Value) {
	if !c.v.IsUndefined() {
		c.invoke("learn", date)
	}
}
