package main

import (
	"context"
	"strings"
	"syscall/js"

	"gridsigner/signer"
)

// bridge is where the requests of a call go, and what goes with each of them.
type bridge struct {
	base        string // absolute, without a trailing slash
	credentials string
	clock       clock
	ask         js.Value // the caller's function that returns headers, or undefined
	headers     js.Value // of the class Headers: the caller's
	onProgress  js.Value // the caller's function that is told of each step, or undefined
}

// headerOwn is what a page of another site cannot set; the bridge insists on it.
const headerOwn = "X-Gridsigner"

// maxAnswer bounds what is read of an answer. Grid's are a few hundred bytes.
const maxAnswer = 1 << 20

// bridgeOptions reads {bridgeUrl, headers?, credentials?, clock?}.
func bridgeOptions(o fields) *bridge {
	// new URL throws on what is not an absolute URL.
	u := js.Global().Get("URL").New(o.text("bridgeUrl"))
	part := func(name string) string { return u.Get(name).String() }
	if p := part("protocol"); p != "https:" && p != "http:" || part("search")+part("hash")+part("username")+part("password") != "" {
		panic(invalid("bridgeUrl must be an absolute http(s) URL without user, query or fragment"))
	}
	b := &bridge{base: strings.TrimRight(part("href"), "/?#"), credentials: o.optionalText("credentials"), clock: clockOption(o)}
	switch b.credentials {
	case "":
		b.credentials = "same-origin"
	case "omit", "same-origin", "include":
	default:
		panic(invalid("credentials must be omit, same-origin or include"))
	}
	if v := o.property("headers"); v.Type() == js.TypeFunction {
		b.ask = v
	} else {
		b.headers = headers(v)
	}
	return b
}

// headers copies the caller's, judged by the browser's own rules. Those of the signed retry are the module's to set.
func headers(v js.Value) js.Value {
	if absent(v) {
		v = js.Undefined()
	}
	h := js.Global().Get("Headers").New(v)
	for _, name := range []string{signer.HeaderSignature, signer.HeaderRequestID} {
		if h.Call("has", name).Bool() {
			panic(invalid("headers must not hold " + name))
		}
	}
	h.Call("delete", headerOwn) // ours, and twice it would be another value
	return h
}

// authenticate asks the caller for the headers, where that is a function.
func (b *bridge) authenticate(ctx context.Context) {
	if b.ask.IsUndefined() {
		return
	}
	aborter := js.Global().Get("AbortController").New()
	defer aborter.Call("abort") // so that the caller's promise settles
	err := caught(func() {
		b.headers = headers(must(await(ctx, b.ask.Invoke(map[string]any{"signal": aborter.Get("signal")}))))
	})
	if err != nil {
		panic(&signer.Error{Kind: signer.ErrHeadersFailed, Msg: "the headers function failed, or returned what are no headers"})
	}
}

// fetch makes one request and reads its answer. An error means that there is none, or that it broke off.
func (b *bridge) fetch(ctx context.Context, s signer.Send) (res signer.Response, err error) {
	h := js.Global().Get("Headers").New(b.headers)
	if s.Signed() {
		h.Call("set", signer.HeaderSignature, s.Signature)
	}
	if s.RequestID != "" { // a passkey has it without a signature
		h.Call("set", signer.HeaderRequestID, s.RequestID)
	}
	if s.Method != "GET" {
		h.Call("set", headerOwn, "1")
	}
	body := js.Undefined()
	if s.Body != "" {
		h.Call("set", "Content-Type", "application/json")
		body = js.ValueOf(s.Body)
	}
	aborter := js.Global().Get("AbortController").New()
	// Whatever happens, the request ends here: its promises then settle, and their callbacks are released.
	defer aborter.Call("abort")
	answer, err := await(ctx, js.Global().Call("fetch", b.base+s.Path, objectOf.Call("setPrototypeOf", map[string]any{
		"method":      s.Method,
		"headers":     h,
		"body":        body,
		"credentials": b.credentials,
		"signal":      aborter.Get("signal"),
		"cache":       "no-store",
		"keepalive":   s.Signed(), // it is on its way, whatever becomes of the page
		"redirect":    "manual",   // a bridge never redirects; following could carry a signature elsewhere
	}, nil))) // from a page that shares this realm, anything might be inherited
	if err != nil {
		return res, err
	}
	res.Status = answer.Get("status").Int() // 0 for a redirect
	received := answer.Get("headers")
	b.clock.learn(received.Call("get", "Date"))
	if v := received.Call("get", "Retry-After"); !absent(v) {
		res.RetryAfter = v.String()
	}
	content := answer.Get("body")
	if absent(content) {
		return res, nil
	}
	reader := content.Call("getReader")
	for {
		chunk, err := await(ctx, reader.Call("read"))
		if err != nil || chunk.Get("done").Bool() {
			return res, err
		}
		value := chunk.Get("value")
		if len(res.Body)+value.Length() > maxAnswer {
			res.Body = nil // no answer of Grid's; without a body it is refused as such
			return res, nil
		}
		res.Body = append(res.Body, bytesOf(value)...)
	}
}

// random is Math.random. It only spreads retries; nothing secret hangs on it.
func random() float64 { return js.Global().Get("Math").Call("random").Float() }
