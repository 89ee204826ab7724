package main

import (
	"strings"
	"syscall/js"
	"time"
	"unicode/utf8"

	"gridsigner/signer"
)

func invalid(msg string) *signer.Error {
	return &signer.Error{Kind: signer.ErrArgumentInvalid, Msg: msg}
}

// at returns argument i.
func (c *call) at(i int) js.Value {
	if i < len(c.args) {
		return c.args[i]
	}
	return js.Undefined()
}

// options returns argument i: an object, or undefined if nothing in it is required. It takes signal and timeoutMs out.
func (c *call) options(i int) fields {
	o := fieldsOf(c.at(i), "options")
	if v := o.property("signal"); !absent(v) {
		signal := object{v}
		if v.Type() != js.TypeObject || signal.property("addEventListener").Type() != js.TypeFunction {
			panic(invalid("signal must be an AbortSignal"))
		}
		c.signal = signal
	}
	if ms := o.property("timeoutMs"); !absent(ms) {
		if ms.Type() != js.TypeNumber || !(ms.Float() >= 1 && ms.Float() <= float64(maxTimeout/time.Millisecond)) { // so that NaN fails
			panic(invalid("timeoutMs must be a number from 1 to 86400000"))
		}
		c.timeout = time.Duration(ms.Float()) * time.Millisecond
	}
	return o
}

// reflectGet and reflectApply read a property and call a method from inside a call of a function of the browser's.
// An exception in there becomes a Go panic; one in js.Value's own Get, Length, Index, InstanceOf, or Call, which
// may Get, would pass through the frames of the module instead and leave it broken.
var (
	reflectGet   = js.Global().Get("Reflect").Get("get")
	reflectApply = js.Global().Get("Reflect").Get("apply")
	objectOf     = js.Global().Get("Object")
	hasOwn       = objectOf.Get("hasOwn")
	assign       = objectOf.Get("assign")
	create       = objectOf.Get("create")
)

// object is a JavaScript object or undefined, read and called by these methods alone: it may be a proxy, or have getters.
type object struct{ v js.Value }

func asObject(v js.Value, name string) object {
	if !v.IsUndefined() && v.Type() != js.TypeObject {
		panic(invalid(name + " must be an object"))
	}
	return object{v}
}

// property returns a property of the object or of what it is made after.
func (o object) property(name string) js.Value { return reflectGet.Invoke(o.v, name) }

// own returns an own property or undefined.
func (o object) own(name string) js.Value {
	if o.v.Type() != js.TypeObject || !hasOwn.Invoke(o.v, name).Bool() {
		return js.Undefined()
	}
	return o.property(name)
}

// invoke calls a method.
func (o object) invoke(name string, args ...any) js.Value {
	return reflectApply.Invoke(o.property(name), o.v, args)
}

// fields are the enumerable own properties of an object, or of undefined, copied at once: what is checked is what is
// used, whatever its getters say later, and a polluted Object.prototype sets no option. Reading the copy runs no code.
type fields struct{ v js.Value }

func fieldsOf(v js.Value, name string) fields {
	return fields{assign.Invoke(create.Invoke(js.Null()), asObject(v, name).v)}
}

// property returns undefined for what there is not.
func (o fields) property(name string) js.Value { return o.v.Get(name) }

// text returns a property that must be a string.
func (o fields) text(name string) string { return text(o.property(name), name) }

// optionalText returns "" for an absent property.
func (o fields) optionalText(name string) string {
	if v := o.property(name); !absent(v) {
		return text(v, name)
	}
	return ""
}

// function returns a property that must be a function, or undefined.
func (o fields) function(name string) js.Value {
	v := o.property(name)
	if absent(v) {
		return js.Undefined()
	}
	if v.Type() != js.TypeFunction {
		panic(invalid(name + " must be a function"))
	}
	return v
}

func absent(v js.Value) bool { return v.IsUndefined() || v.IsNull() }

// text converts a string exactly, or refuses it: a long one before it is copied. JavaScript strings may hold lone
// surrogates, which become U+FFFD on the way into Go: what is signed would not be what the page showed.
func text(v js.Value, name string) string {
	if v.Type() != js.TypeString {
		panic(invalid(name + " must be a string"))
	}
	if objectOf.Invoke(v).Length() > signer.MaxPayload { // Length wants an object
		panic(invalid(name + " is too long"))
	}
	s := v.String()
	// Comparing with what went in tells a lone surrogate from a U+FFFD that was there.
	if strings.ContainsRune(s, utf8.RuneError) && !js.ValueOf(s).Equal(v) {
		panic(invalid(name + " holds a lone surrogate"))
	}
	return s
}

// challenge reads {payloadToSign, requestId, expiresAt, type?}.
func challenge(v js.Value) signer.Challenge {
	if v.IsUndefined() {
		v = js.Null() // it is required
	}
	o := fieldsOf(v, "challenge")
	return must(signer.NewChallenge(o.text("payloadToSign"), o.text("requestId"), o.text("expiresAt"), o.optionalText("type")))
}

// intent reads the name of an intent, or an object with the name and what was submitted with it.
func intent(v js.Value) signer.Intent {
	if absent(v) {
		return signer.Intent{}
	}
	if v.Type() == js.TypeString {
		return signer.Intent{Name: signer.IntentName(text(v, "intent"))}
	}
	o := fieldsOf(v, "intent")
	in := signer.Intent{
		Name:            signer.IntentName(o.text("name")),
		TargetPublicKey: o.optionalText("targetPublicKey"),
		Credential:      signer.CredentialType(o.optionalText("type")),
	}
	submitted := map[signer.CredentialType]string{
		signer.EmailOTP: "email", signer.SMSOTP: "phoneNumber", signer.OAuth: "oidcToken", signer.Passkey: "attestationObject",
	}[in.Credential]
	if submitted != "" {
		in.Submitted = o.optionalText(submitted)
	}
	return in
}
