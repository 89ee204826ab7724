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

// at returns argument i. What is checked of it is what is used: a property is read once, as a getter may change.
func (c *call) at(i int) js.Value {
	if i < len(c.args) {
		return c.args[i]
	}
	return js.Undefined()
}

// options returns argument i: an object, or undefined if nothing in it is required. It takes signal and timeoutMs out.
func (c *call) options(i int) object {
	o := asObject(c.at(i), "options")
	if signal := o.property("signal"); !absent(signal) {
		if signal.Type() != js.TypeObject || (object{signal}).inherited("addEventListener").Type() != js.TypeFunction {
			panic(invalid("signal must be an AbortSignal"))
		}
		c.signal = object{signal}
	}
	if ms := o.property("timeoutMs"); !absent(ms) {
		if ms.Type() != js.TypeNumber || !(ms.Float() >= 1 && ms.Float() <= float64(maxTimeout/time.Millisecond)) { // so that NaN fails
			panic(invalid("timeoutMs must be a number from 1 to 86400000"))
		}
		c.timeout = time.Duration(ms.Float()) * time.Millisecond
	}
	return o
}

// object is a JavaScript object or undefined, read and called by these methods alone: it may be a proxy, or have getters.
type object struct{ v js.Value }

func asObject(v js.Value, name string) object {
	if !v.IsUndefined() && v.Type() != js.TypeObject {
		panic(invalid(name + " must be an object"))
	}
	return object{v}
}

// reflectGet and reflectApply read a property and call a method from inside a call of a function of the browser's.
// An exception in there becomes a Go panic; one in js.Value's own Get, Length, Index, InstanceOf, or Call, which
// may Get, would pass through the frames of the module instead and leave it broken.
var (
	reflectGet   = js.Global().Get("Reflect").Get("get")
	reflectApply = js.Global().Get("Reflect").Get("apply")
	objectOf     = js.Global().Get("Object")
	hasOwn       = objectOf.Get("hasOwn")
)

// property returns an own property or undefined, also of undefined: a polluted Object.prototype sets no option.
func (o object) property(name string) js.Value {
	if o.v.IsUndefined() || !hasOwn.Invoke(o.v, name).Bool() {
		return js.Undefined()
	}
	return o.inherited(name)
}

// inherited returns a property of the object or of what it is made after.
func (o object) inherited(name string) js.Value { return reflectGet.Invoke(o.v, name) }

// invoke calls a method.
func (o object) invoke(name string, args ...any) js.Value {
	return reflectApply.Invoke(o.inherited(name), o.v, args)
}

// text returns a property that must be a string.
func (o object) text(name string) string { return text(o.property(name), name) }

// optionalText returns "" for an absent property.
func (o object) optionalText(name string) string {
	if v := o.property(name); !absent(v) {
		return text(v, name)
	}
	return ""
}

// function returns a property that must be a function, or undefined.
func (o object) function(name string) js.Value {
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
	if v.Type() != js.TypeObject {
		panic(invalid("challenge must be an object"))
	}
	o := object{v}
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
	o := asObject(v, "intent")
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
