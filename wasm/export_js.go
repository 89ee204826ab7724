package main

import (
	"context"
	"errors"
	"syscall/js"
	"time"

	"gridsigner/signer"
)

// function is one exported function. It reads its arguments and returns the
// work to be done with them, which may block; args must not be used by then.
type function func(args arguments) work

// work returns what the Promise resolves to: anything js.ValueOf takes.
type work func(ctx context.Context) (any, error)

// export makes f callable from JavaScript as a function returning a Promise.
// The [js.Func] lives as long as the module: export is called once per
// function, from main, and its result is never released.
func export(f function) js.Func {
	return js.FuncOf(func(_ js.Value, args []js.Value) any {
		promise, resolve, reject := newPromise()
		ctx, end, work, err := begin(f, args)
		if err != nil {
			reject.Invoke(jsError(err))
			return promise
		}
		// JavaScript's event loop waits for this function, so whatever blocks
		// has to happen in a goroutine.
		go func() {
			defer end()
			if v, err := finish(ctx, work); err != nil {
				reject.Invoke(jsError(err))
			} else {
				resolve.Invoke(v)
			}
		}()
		return promise
	})
}

// begin runs f's first half. Getters, proxies and what only looks like an
// AbortSignal can throw, which a call turns into a panic.
func begin(f function, args []js.Value) (ctx context.Context, end func(), w work, err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case *signer.Error:
			err = r
		case js.Error, *js.ValueError:
			err = invalid("an argument could not be read")
		default:
			err = errInternal
		}
	}()
	call := &call{timeout: defaultTimeout}
	w = f(arguments{args, call})
	ctx, end = call.context()
	return ctx, end, w, nil
}

// finish runs f's second half. The value of a panic may quote key bytes, so it
// is dropped.
func finish(ctx context.Context, w work) (v any, err error) {
	defer func() {
		if recover() != nil {
			err = errInternal
		}
	}()
	if err := context.Cause(ctx); err != nil {
		return nil, err // aborted before it began
	}
	v, err = w(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause // whatever failed, failed because time or patience ran out
	}
	return v, err
}

var errInternal = &signer.Error{Kind: signer.ErrInternal, Msg: "internal error"}

// jsError makes the Error that a Promise rejects with.
func jsError(err error) js.Value {
	if t, ok := errors.AsType[thrown](err); ok {
		return t.value
	}
	e, ok := errors.AsType[*signer.Error](err)
	if !ok {
		e = errInternal
	}
	v := js.Global().Get("Error").New(e.Error())
	v.Set("name", "GridSignerError")
	v.Set("code", string(e.Kind))
	v.Set("retryable", e.Kind.Retryable())
	if e.Status != 0 {
		v.Set("status", e.Status)
	}
	if e.UpstreamCode != "" {
		v.Set("upstreamCode", e.UpstreamCode)
	}
	if e.RequestID != "" {
		v.Set("requestId", e.RequestID)
	}
	if e.RetryAfter != 0 {
		v.Set("retryAfterMs", e.RetryAfter.Milliseconds())
	}
	return v
}

// executor serves every Promise of this module: JavaScript calls it before the
// constructor returns, so one pair of variables is enough, and there is no
// js.Func to leak with each Promise.
var (
	promiseConstructor = js.Global().Get("Promise")
	lastResolve        js.Value
	lastReject         js.Value
	executor           = js.FuncOf(func(_ js.Value, args []js.Value) any {
		lastResolve, lastReject = args[0], args[1]
		return nil
	})
)

func newPromise() (promise, resolve, reject js.Value) {
	promise = promiseConstructor.New(executor)
	return promise, lastResolve, lastReject
}

// await waits until promise settles or ctx ends. The error of a rejection is a
// [js.Error], whose text must not be shown: it may come from anywhere.
//
// A promise that is given up on keeps its two callbacks until it settles, so
// the caller has to make it settle: by aborting the fetch, for one.
func await(ctx context.Context, promise js.Value) (js.Value, error) {
	type result struct {
		value js.Value
		err   error
	}
	done := make(chan result, 1)
	var fulfilled, rejected js.Func
	settle := func(r result) any {
		fulfilled.Release()
		rejected.Release()
		done <- r
		return nil
	}
	fulfilled = js.FuncOf(func(_ js.Value, args []js.Value) any { return settle(result{value: args[0]}) })
	rejected = js.FuncOf(func(_ js.Value, args []js.Value) any { return settle(result{err: js.Error{Value: args[0]}}) })
	promise.Call("then", fulfilled, rejected)
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		return js.Undefined(), context.Cause(ctx)
	}
}

// callback calls a function of the caller's and waits for what it promises. What
// it throws, or rejects with, is a [js.Error].
func callback(ctx context.Context, f js.Value, args ...any) (v js.Value, err error) {
	if err := caught(func() { v = promiseConstructor.Call("resolve", f.Invoke(args...)) }); err != nil {
		return v, err
	}
	return await(ctx, v)
}

// caught returns what f panics with, if that is a refusal or was thrown in
// JavaScript.
func caught(f func()) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case *signer.Error, js.Error, *js.ValueError:
			err = r.(error)
		default:
			panic(r)
		}
	}()
	f()
	return nil
}

// thrown is an error that the worker's own code threw, on its way back there.
type thrown struct{ value js.Value }

func (thrown) Error() string { return "thrown by the caller's code" }

// ours keeps what the worker's own code threw, and what ended the call. Anything
// else becomes otherwise: not even its text is passed on, which may quote keys.
func ours(err error, otherwise error) error {
	e, ok := errors.AsType[js.Error](err)
	if !ok {
		return err
	}
	if e.Value.Type() == js.TypeObject && reflectGet.Invoke(e.Value, "name").Equal(js.ValueOf("GridSignerError")) {
		return thrown{e.Value}
	}
	return otherwise
}

// defaultTimeout is the deadline of a call that names none.
const defaultTimeout = 30 * time.Second

// maxTimeout keeps timeoutMs within what timers can hold.
const maxTimeout = 24 * time.Hour

// call is what one call was given to end it early.
type call struct {
	timeout time.Duration
	signal  object // an AbortSignal, or undefined
}

// context ends with the deadline or the signal. end must be called when the work
// is done.
func (c *call) context() (ctx context.Context, end func()) {
	ctx, stop := context.WithTimeoutCause(context.Background(), c.timeout,
		&signer.Error{Kind: signer.ErrTimeout, Msg: "the call took longer than its timeoutMs"})
	if c.signal.v.IsUndefined() {
		return ctx, stop
	}
	ctx, abort := context.WithCancelCause(ctx)
	listener := js.FuncOf(func(js.Value, []js.Value) any {
		abort(&signer.Error{Kind: signer.ErrAborted, Msg: "the call was aborted"})
		return nil
	})
	end = func() {
		abort(nil)
		stop()
		_ = caught(func() { c.signal.invoke("removeEventListener", "abort", listener) }) // one that lets go of nobody is no reason to fail
		listener.Release()
	}
	if err := caught(func() {
		c.signal.invoke("addEventListener", "abort", listener)
		if c.signal.inherited("aborted").Truthy() {
			listener.Invoke()
		}
	}); err != nil {
		end()
		panic(err)
	}
	return ctx, end
}
