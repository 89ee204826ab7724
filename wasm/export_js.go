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
type function func(args arguments) (work, error)

// work returns what the Promise resolves to: anything js.ValueOf takes.
type work func(ctx context.Context) (any, error)

// export makes f callable from JavaScript as a function returning a Promise.
// The [js.Func] lives as long as the module: export is called once per
// function, from main, and its result is never released.
func export(f function) js.Func {
	return js.FuncOf(func(_ js.Value, args []js.Value) any {
		promise, resolve, reject := newPromise()
		ctx, work, err := begin(f, args)
		if err != nil {
			reject.Invoke(jsError(err))
			return promise
		}
		// JavaScript's event loop waits for this function, so whatever blocks
		// has to happen in a goroutine.
		go func() {
			defer ctx.end()
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
func begin(f function, args []js.Value) (ctx *callContext, w work, err error) {
	defer func() {
		switch r := recover(); r.(type) {
		case nil:
		case js.Error, *js.ValueError:
			err = invalid("an argument could not be read")
		default:
			err = errInternal
		}
	}()
	call := &call{}
	if w, err = f(arguments{args, call}); err != nil {
		return nil, nil, err
	}
	return call.context(), w, nil
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

func invalid(msg string) error { return &signer.Error{Kind: signer.ErrArgumentInvalid, Msg: msg} }

// jsError makes the Error that a Promise rejects with.
func jsError(err error) js.Value {
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
	settle := func(r result) {
		fulfilled.Release()
		rejected.Release()
		done <- r
	}
	fulfilled = js.FuncOf(func(_ js.Value, args []js.Value) any {
		settle(result{value: args[0]})
		return nil
	})
	rejected = js.FuncOf(func(_ js.Value, args []js.Value) any {
		settle(result{err: js.Error{Value: args[0]}})
		return nil
	})
	promise.Call("then", fulfilled, rejected)
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		return js.Undefined(), context.Cause(ctx)
	}
}

// defaultTimeout is the deadline of a call that names none.
const defaultTimeout = 30 * time.Second

// maxTimeout keeps timeoutMs within what timers can hold.
const maxTimeout = 24 * time.Hour

// call is what one call was given to end it early.
type call struct {
	timeout time.Duration // 0 means defaultTimeout
	signal  object        // an AbortSignal, or undefined
}

// callContext ends with the deadline or the signal. end must be called when the
// work is done.
type callContext struct {
	context.Context
	end func()
}

func (c *call) context() *callContext {
	timeout := c.timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	ctx, stop := context.WithTimeoutCause(context.Background(), timeout,
		&signer.Error{Kind: signer.ErrTimeout, Msg: "the call took longer than its timeoutMs"})
	if c.signal.v.IsUndefined() {
		return &callContext{ctx, stop}
	}
	ctx, abort := context.WithCancelCause(ctx)
	aborted := &signer.Error{Kind: signer.ErrAborted, Msg: "the call was aborted"}
	listener := js.FuncOf(func(js.Value, []js.Value) any {
		abort(aborted)
		return nil
	})
	end := func() {
		abort(nil)
		stop()
		defer listener.Release()
		defer func() { _ = recover() }() // a signal that lets go of nobody is no reason to fail
		c.signal.invoke("removeEventListener", "abort", listener)
	}
	defer func() {
		if r := recover(); r != nil {
			end()
			panic(r)
		}
	}()
	c.signal.invoke("addEventListener", "abort", listener)
	if c.signal.property("aborted").Truthy() {
		abort(aborted)
	}
	return &callContext{ctx, end}
}
