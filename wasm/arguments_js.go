package main

import (
	"strings"
	"syscall/js"
	"time"
	"unicode/utf8"

	"gridsigner/signer"
)

// arguments are those of one call. What is checked of them is what is used: a
// property is read once, so a getter cannot show two values.
type arguments struct {
	values []js.Value
	call   *call
}

func (a arguments) at(i int) js.Value {
	if i < len(a.values) {
		return a.values[i]
	}
	return js.Undefined()
}

// text returns argument i, a string.
func (a arguments) text(i int, name string) (string, error) { return text(a.at(i), name) }

// options returns argument i, which must be an object, or undefined if nothing
// in it is required. It takes signal and timeoutMs out of it.
func (a arguments) options(i int) (object, error) {
	o, err := asObject(a.at(i), "options")
	if err != nil {
		return o, err
	}
	if signal := o.property("signal"); !absent(signal) {
		if signal.Type() != js.TypeObject || (object{signal}).property("addEventListener").Type() != js.TypeFunction {
			return o, invalid("signal must be an AbortSignal")
		}
		a.call.signal = object{signal}
	}
	if ms := o.property("timeoutMs"); ms.Type() == js.TypeNumber {
		f := ms.Float()
		if !(f >= 1 && f <= float64(maxTimeout/time.Millisecond)) { // so that NaN fails
			return o, invalid("timeoutMs must be between 1 and 86400000")
		}
		a.call.timeout = time.Duration(f) * time.Millisecond
	} else if !absent(ms) {
		return o, invalid("timeoutMs must be a number")
	}
	return o, nil
}

// object is a JavaScript object or undefined. It is read and called with the
// methods below alone: it may be a proxy, or have getters.
type object struct{ v js.Value }

func asObject(v js.Value, name string) (object, error) {
	if !v.IsUndefined() && v.Type() != js.TypeObject {
		return object{}, invalid(name + " must be an object")
	}
	return object{v}, nil
}

// reflectGet and reflectApply read a property and call a method from inside a
// call of a function of the browser's. An exception in there becomes a Go panic;
// one in js.Value's own Get, Length, Index, InstanceOf, or Call, which may Get,
// would pass through the frames of the module instead and leave it broken.
var (
	reflectGet   = js.Global().Get("Reflect").Get("get")
	reflectApply = js.Global().Get("Reflect").Get("apply")
)

// property returns undefined for an absent object too.
func (o object) property(name string) js.Value {
	if o.v.IsUndefined() {
		return o.v
	}
	return reflectGet.Invoke(o.v, name)
}

// invoke calls a method.
func (o object) invoke(name string, args ...any) js.Value {
	return reflectApply.Invoke(o.property(name), o.v, args)
}

// text returns a property that must be a string.
func (o object) text(name string) (string, error) { return text(o.property(name), name) }

// optionalText returns "" for an absent property.
func (o object) optionalText(name string) (string, error) {
	v := o.property(name)
	if absent(v) {
		return "", nil
	}
	return text(v, name)
}

var objectOf = js.Global().Get("Object")

func absent(v js.Value) bool { return v.IsUndefined() || v.IsNull() }

// text converts a string exactly, or refuses it. JavaScript strings may hold
// lone surrogates, which become U+FFFD on the way into Go: what is signed would
// not be what the page showed. A long string is refused before it is copied.
func text(v js.Value, name string) (string, error) {
	if v.Type() != js.TypeString {
		return "", invalid(name + " must be a string")
	}
	if objectOf.Invoke(v).Length() > signer.MaxPayload { // Length wants an object
		return "", invalid(name + " is too long")
	}
	s := v.String()
	// Comparing with what went in tells a lone surrogate from a U+FFFD that was
	// there. Without one there is nothing to tell.
	if strings.ContainsRune(s, utf8.RuneError) && !js.ValueOf(s).Equal(v) {
		return "", invalid(name + " holds a lone surrogate")
	}
	return s, nil
}

// challenge reads {payloadToSign, requestId, expiresAt, type?}.
func challenge(v js.Value) (c signer.Challenge, err error) {
	if v.Type() != js.TypeObject {
		return c, invalid("challenge must be an object")
	}
	o := object{v}
	payload, err := o.text("payloadToSign")
	if err != nil {
		return c, err
	}
	requestID, err := o.text("requestId")
	if err != nil {
		return c, err
	}
	expiresAt, err := o.text("expiresAt")
	if err != nil {
		return c, err
	}
	typ, err := o.optionalText("type")
	if err != nil {
		return c, err
	}
	return signer.NewChallenge(payload, requestID, expiresAt, typ)
}

// intent reads the name of an intent, or an object with the name and what was
// submitted with it.
func intent(v js.Value) (in signer.Intent, err error) {
	if absent(v) {
		return in, nil
	}
	if v.Type() == js.TypeString {
		name, err := text(v, "intent")
		return signer.Intent{Name: signer.IntentName(name)}, err
	}
	o, err := asObject(v, "intent")
	if err != nil {
		return in, err
	}
	name, err := o.text("name")
	if err != nil {
		return in, err
	}
	in.Name = signer.IntentName(name)
	if in.TargetPublicKey, err = o.optionalText("targetPublicKey"); err != nil {
		return in, err
	}
	typ, err := o.optionalText("type")
	if err != nil {
		return in, err
	}
	in.Credential = signer.CredentialType(typ)
	submitted := map[signer.CredentialType]string{
		signer.EmailOTP: "email", signer.SMSOTP: "phoneNumber", signer.OAuth: "oidcToken", signer.Passkey: "attestationObject",
	}[in.Credential]
	if submitted != "" {
		in.Submitted, err = o.text(submitted)
	}
	return in, err
}
