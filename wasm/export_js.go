package main

import (
	"context"
	"syscall/js"
	"time"

	"gridsigner/signer"
)

// function is one exported function. It reads the arguments of a call and returns the work to be done with them,
// which may block; they must not be read by then.
//
// Whatever refuses a call, in either half, panics with the refusal, and caught hands it to export: what a call
// takes and does then stands there without a branch after each line.
type function func(call *call) work

// work returns what the Promise resolves to: anything js.ValueOf takes.
type work func(ctx context.Context) any

// export makes f callable from JavaScript as a function returning a Promise. The [js.Func] lives as long as the
// module: export is called once per function, from main, and its result is never released.
func export(f function) js.Func {
	return js.FuncOf(func(_ js.Value, args []js.Value) any {
		promise, resolve, reject := newPromise()
		call := &call{args: args, timeout: defaultTimeout, end: func() {}}
		var ctx context.Context
		var do work
		err := caught(func() {
			do = f(call)
			ctx = call.context()
		})
		if err != nil {
			call.end()
			// Getters, proxies and what only looks like an AbortSignal can throw.
			reject.Invoke(jsError(err, invalid("an argument could not be read")))
			return promise
		}
		// JavaScript's event loop waits for this function, so whatever blocks has to happen in a goroutine.
		go func() {
			defer call.end()
			var v any
			err := caught(func() {
				refuse(ctx.Err()) // aborted before it began
				v = do(ctx)
			})
			if err == nil {
				resolve.Invoke(v)
				return
			}
			if cause := ctx.Err(); cause != nil {
				err = cause // whatever failed, failed because time or patience ran out
			}
			reject.Invoke(jsError(err, internal()))
		}()
		return promise
	})
}

// caught returns what f panics with: a refusal, or what JavaScript threw. Any other may quote key bytes, and is dropped.
func caught(f func()) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case *signer.Error, thrown, js.Error, *js.ValueError:
			err = r.(error)
		default:
			err = internal()
		}
	}()
	f()
	return nil
}

// refuse ends the call with err, unless that is nil.
func refuse(err error) {
	if err != nil {
		panic(err)
	}
}

// must returns v, or refuses the call.
func must[T any](v T, err error) T {
	refuse(err)
	return v
}

func internal() *signer.Error { return &signer.Error{Kind: signer.ErrInternal, Msg: "internal error"} }

// thrown is an error that the worker's own code threw, on its way back there.
type thrown struct{ js.Value }

func (thrown) Error() string { return "thrown by the worker's code" }

// jsError makes the Error that a Promise rejects with: of otherwise, if err is none that may be shown.
func jsError(err error, otherwise *signer.Error) js.Value {
	e := otherwise
	switch err := err.(type) {
	case thrown:
		return err.Value
	case *signer.Error:
		e = err
	}
	v := js.Global().Get("Error").New(e.Error())
	v.Set("name", "GridSignerError")
	v.Set("code", string(e.Kind))
	v.Set("retryable", e.Kind.Retryable())
	detail := func(name string, value any) {
		if js.ValueOf(value).Truthy() { // 0 and "" say that there is none
			v.Set(name, value)
		}
	}
	detail("status", e.Status)
	detail("upstreamCode", e.UpstreamCode)
	detail("requestId", e.RequestID)
	detail("retryAfterMs", e.RetryAfter.Milliseconds())
	return v
}

// executor serves every Promise of this module: JavaScript calls it before the constructor returns, so one pair of
// variables is enough, and there is no js.Func to leak with each Promise.
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

// await waits until v, a promise or not, settles or ctx ends. The error of a rejection is a [js.Error], whose text
// must not be shown: it may come from anywhere.
//
// A promise that is given up on keeps its two callbacks until it settles, so the caller has to make it settle: by
// aborting the fetch, for one.
func await(ctx context.Context, v js.Value) (js.Value, error) {
	fulfilled, rejected := make(chan js.Value, 1), make(chan js.Value, 1)
	var onFulfilled, onRejected js.Func
	passTo := func(settled chan js.Value) js.Func {
		return js.FuncOf(func(_ js.Value, args []js.Value) any {
			onFulfilled.Release()
			onRejected.Release()
			settled <- args[0]
			return nil
		})
	}
	onFulfilled, onRejected = passTo(fulfilled), passTo(rejected)
	promiseConstructor.Call("resolve", v).Call("then", onFulfilled, onRejected)
	select {
	case v := <-fulfilled:
		return v, nil
	case reason := <-rejected:
		return js.Undefined(), js.Error{Value: reason}
	case <-ctx.Done():
		return js.Undefined(), ctx.Err()
	}
}

// callback calls a function of the worker's and waits for what it promises. An error of the worker's own, thrown or
// rejected with, is kept. Any other becomes otherwise: not even its text is passed on, which may quote keys.
func callback(ctx context.Context, otherwise error, f js.Value, args ...any) (v js.Value, err error) {
	err = caught(func() { v = must(await(ctx, f.Invoke(args...))) })
	e, ok := err.(js.Error)
	if !ok {
		return v, err
	}
	if e.Value.Type() == js.TypeObject && reflectGet.Invoke(e.Value, "name").Equal(js.ValueOf("GridSignerError")) {
		return v, thrown{e.Value}
	}
	return v, otherwise
}

// defaultTimeout is the deadline of a call that names none.
const defaultTimeout = 30 * time.Second

// maxTimeout keeps timeoutMs within what timers can hold.
const maxTimeout = 24 * time.Hour

// call is one call: its arguments, and what they hold to end it early, which end lets go of.
type call struct {
	args    []js.Value
	timeout time.Duration
	signal  object // an AbortSignal, or undefined
	end     func()
}

// context ends with the deadline or the signal.
func (c *call) context() context.Context {
	ctx := &lifetime{deadline: time.Now().Add(c.timeout), done: make(chan struct{})}
	timer := time.AfterFunc(c.timeout, func() {
		ctx.stop(&signer.Error{Kind: signer.ErrTimeout, Msg: "the call took longer than its timeoutMs"})
	})
	stop := func() {
		timer.Stop()
		ctx.stop(context.Canceled)
	}
	c.end = stop
	if c.signal.v.IsUndefined() {
		return ctx
	}
	listener := js.FuncOf(func(js.Value, []js.Value) any {
		ctx.stop(&signer.Error{Kind: signer.ErrAborted, Msg: "the call was aborted"})
		return nil
	})
	c.end = func() {
		stop()
		_ = caught(func() { c.signal.invoke("removeEventListener", "abort", listener) }) // one that lets go of nobody is no reason to fail
		listener.Release()
	}
	c.signal.invoke("addEventListener", "abort", listener)
	if c.signal.property("aborted").Truthy() {
		listener.Invoke()
	}
	return ctx
}

// lifetime is the context of a call. Its Err is the cause: what ended it first. Those of package context, with the texts that
// they print, add 8 kB after brotli. As of a keyring, only one thing at a time is at it.
type lifetime struct {
	deadline time.Time
	done     chan struct{}
	err      error
}

func (l *lifetime) stop(err error) {
	if l.err == nil {
		l.err = err
		close(l.done)
	}
}

func (l *lifetime) Deadline() (time.Time, bool) { return l.deadline, true }
func (l *lifetime) Done() <-chan struct{}       { return l.done }
func (l *lifetime) Err() error                  { return l.err }
func (l *lifetime) Value(any) any               { return nil }
