package bridge

import (
	"context"
	"net/http"
	"time"
)

// Observer is told what a bridge does. Package telemetry makes metrics and spans
// of it. Its methods must not block: they are called on the way of every request.
type Observer interface {
	// Request is called when a request has come, with its headers, which nobody has
	// checked. The context that it returns goes with all that is done for the
	// request, and end is called once, when it has been answered.
	Request(ctx context.Context, h http.Header) (_ context.Context, end func(Record))

	// Call is called before a request goes to Grid, with the method and route as
	// [Record] has them. A trace context that it sets in h, which is empty, goes
	// along (W3C Trace Context). end is called once.
	Call(ctx context.Context, method, route string, h http.Header) (end func(Called))

	// Happened is called with what happens beside any request.
	Happened(Event)
}

// Record is what became of a request. Nothing in it is text of the client's or of
// Grid's: the sets that its fields are of are the bridge's own, but for User.
type Record struct {
	Method, Route string        // of the allow-list, "-" if it has none
	Status        int           // of the answer
	Code          string        // of the bridge's own refusal, "" if Grid answered
	Reason        Reason        // of the refusal, "" if there was none
	User          string        // [User.ID], "" if not known
	Client        string        // its address, as [Config.LogAddress] wants it
	Correlation   string        // what the client was told in X-Correlation-Id
	Took          time.Duration // to the answer's last byte
	Calls         int           // to Grid
	CallsTook     time.Duration // all together
	Checked       Checked       // how a signed leg was checked, "" for others
}

// Called is what became of a call to Grid.
type Called struct {
	Status int    // 0 if there was none
	Reason Reason // why it cannot be used, "" if it can
	Took   time.Duration
}

// Checked says how a signed leg was checked, whether or not it then went to Grid.
type Checked string

const (
	// CheckedVerified: the challenge was issued to this user for this request, and the
	// signature in a stamp is of its payload.
	CheckedVerified Checked = "verified"

	// CheckedForm: the form alone, since another replica may have the challenge and what
	// they share has not answered. Grid checks all of it in any case.
	CheckedForm Checked = "form"
)

// Event is something that happened beside any request.
type Event struct {
	Kind   EventKind
	Reason Reason // why it failed, "" if it did not
}

// EventKind is what an [Event] is about.
type EventKind string

const (
	EventCredentials EventKind = "credentials" // the API credentials were read again
	EventKeys        EventKind = "keys"        // an issuer's key set was read again
	EventCertificate EventKind = "certificate" // the server's certificate was read again
	EventShared      EventKind = "shared"      // what replicas share was asked; only failures, and the first success after one
	EventLog         EventKind = "log"         // a line of the traffic log was dropped: nobody reads stderr
	EventConnection  EventKind = "connection"  // a connection was closed to make room for another
)

// unobserved is the observer of a bridge that has none.
type unobserved struct{}

func (unobserved) Request(ctx context.Context, _ http.Header) (context.Context, func(Record)) {
	return ctx, func(Record) {}
}
func (unobserved) Call(context.Context, string, string, http.Header) func(Called) {
	return func(Called) {}
}
func (unobserved) Happened(Event) {}
