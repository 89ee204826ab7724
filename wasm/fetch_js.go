package main

import (
	"context"
	"strings"
	"syscall/js"
	"time"

	"gridsigner/signer"
)

// bridge is where requests go, and what goes with each of them.
type bridge struct {
	base        string // absolute, without a trailing slash
	headers     map[string]string
	credentials string
	clock       clock
}

// headerOwn is what a page of another site cannot set; the bridge insists on it.
const headerOwn = "X-Gridsigner"

// maxAnswer bounds what is read of an answer. Grid's are a few hundred bytes.
const maxAnswer = 1 << 20

// bridgeOptions reads {bridgeUrl, headers?, credentials?}.
func bridgeOptions(o object) (b bridge, err error) {
	if b.base, err = o.text("bridgeUrl"); err != nil {
		return b, err
	}
	// new URL throws on what is not an absolute URL.
	u := js.Global().Get("URL").New(b.base)
	protocol := u.Get("protocol").String()
	if protocol != "https:" && protocol != "http:" || u.Get("search").String()+u.Get("hash").String()+u.Get("username").String()+u.Get("password").String() != "" {
		return b, invalid("bridgeUrl must be an absolute http(s) URL without user, query or fragment")
	}
	b.base = strings.TrimRight(u.Get("href").String(), "/?#")
	switch b.credentials, err = o.optionalText("credentials"); {
	case err != nil:
		return b, err
	case b.credentials == "":
		b.credentials = "same-origin"
	case b.credentials != "omit" && b.credentials != "same-origin" && b.credentials != "include":
		return b, invalid("credentials must be omit, same-origin or include")
	}
	if b.clock, err = clockOption(o); err != nil {
		return b, err
	}
	b.headers, err = headers(o.property("headers"))
	return b, err
}

// headers reads a plain object of strings. The two headers of the signed retry
// are this module's to set.
func headers(v js.Value) (map[string]string, error) {
	if absent(v) {
		return nil, nil
	}
	if v.Type() != js.TypeObject {
		return nil, invalid("headers must be an object")
	}
	names := js.Global().Get("Object").Call("keys", v)
	if names.Length() > 64 {
		return nil, invalid("too many headers")
	}
	fields, all := object{v}, make(map[string]string, names.Length())
	for i := range names.Length() {
		name, err := text(names.Index(i), "header name")
		if err != nil {
			return nil, err
		}
		if strings.EqualFold(name, signer.HeaderSignature) || strings.EqualFold(name, signer.HeaderRequestID) {
			return nil, invalid("headers must not hold " + signer.HeaderSignature + " or " + signer.HeaderRequestID)
		}
		if strings.EqualFold(name, headerOwn) {
			continue // ours, and twice it would be another value
		}
		if all[name], err = fields.text(name); err != nil {
			return nil, err
		}
	}
	// The browser's own judgement of names and values, now instead of later.
	js.Global().Get("Headers").New(toObject(all))
	return all, nil
}

func toObject(m map[string]string) js.Value {
	o := js.Global().Get("Object").New()
	for name, value := range m {
		o.Set(name, value)
	}
	return o
}

// fetch makes one request and reads its answer. An error means that there is
// none, or that it broke off.
func (b bridge) fetch(ctx context.Context, method, path string, extra map[string]string) (res signer.Response, err error) {
	h := toObject(b.headers)
	for name, value := range extra {
		h.Set(name, value)
	}
	if method != "GET" {
		h.Set(headerOwn, "1")
	}
	aborter := js.Global().Get("AbortController").New()
	// Whatever happens, the request ends with this function: its promises then
	// settle, and their callbacks are released.
	defer aborter.Call("abort")
	answer, err := await(ctx, js.Global().Call("fetch", b.base+path, map[string]any{
		"method":      method,
		"headers":     h,
		"credentials": b.credentials,
		"signal":      aborter.Get("signal"),
		"cache":       "no-store",
		"redirect":    "manual", // a bridge never redirects; following could carry a signature elsewhere
	}))
	if err != nil {
		return res, err
	}
	res.Status = answer.Get("status").Int() // 0 for a redirect
	fields := answer.Get("headers")
	b.clock.learn(fields.Call("get", "Date"))
	if v := fields.Call("get", "Retry-After"); !absent(v) {
		res.RetryAfter = v.String()
	}
	body := answer.Get("body")
	if absent(body) {
		return res, nil
	}
	reader := body.Call("getReader")
	for {
		chunk, err := await(ctx, reader.Call("read"))
		if err != nil {
			return res, err
		}
		if chunk.Get("done").Bool() {
			return res, nil
		}
		if value := chunk.Get("value"); len(res.Body)+value.Length() > maxAnswer {
			res.Body = nil // no answer of Grid's; without a body it is refused as such
			return res, nil
		} else {
			res.Body = append(res.Body, bytesOf(value)...)
		}
	}
}

// encode is encodeURIComponent.
func encode(s string) string { return js.Global().Call("encodeURIComponent", s).String() }

// random is Math.random. It only spreads retries; nothing secret hangs on it.
func random() float64 { return js.Global().Get("Math").Call("random").Float() }

// clock is what the worker knows of the server's time: an object with the
// functions now and learn, see web/src/clock.ts. Without one, this device's own
// clock is used.
type clock struct{ object }

func clockOption(o object) (clock, error) {
	v, err := asObject(o.property("clock"), "clock")
	return clock{v}, err
}

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

// sleep returns early with ctx's cause.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
