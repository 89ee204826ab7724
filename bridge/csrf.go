package bridge

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"gridsigner/bridge/internal/outbound"
)

// HeaderClient must be sent, as "1", with every request that is not a GET. It
// is no secret: its use is that a page of another site cannot set it without
// asking first (a CORS preflight), and that no form, link or image can set it.
const HeaderClient = "X-Gridsigner"

// corsHeaders are the request headers that a page of an allowed origin may set.
const corsHeaders = "Authorization, Content-Type, Grid-Wallet-Signature, Request-Id, Traceparent, Tracestate, " + HeaderClient + ", " + HeaderAccount

// origins says which pages may call the bridge: those of its own origin, and
// those of the allowed origins, compared exactly.
type origins struct {
	allowed    []string
	protection *http.CrossOriginProtection
}

// newOrigins checks the allowed origins. None is a pattern: "*" and "null" are
// not origins of an app.
func newOrigins(allowed []string) (*origins, error) {
	o := &origins{allowed: allowed, protection: http.NewCrossOriginProtection()}
	var errs []error
	for _, origin := range allowed {
		u, err := outbound.ParseURL(origin)
		if err != nil || strings.Contains(origin, "*") || origin != (&url.URL{Scheme: u.Scheme, Host: u.Host}).String() || origin != strings.ToLower(origin) ||
			strings.HasSuffix(origin, ":") || u.Port() == map[string]string{"https": "443", "http": "80"}[u.Scheme] {
			errs = append(errs, fmt.Errorf("bridge: %q is not an origin: want https://host or https://host:port, lower case, as browsers send it: without the default port", origin))
			continue
		}
		errs = append(errs, o.protection.AddTrustedOrigin(origin))
	}
	return o, errors.Join(errs...)
}

// check refuses a request that did not come from the app: one that a browser says is of
// another site, and one with side effects without [HeaderClient]. The two are
// independent: old browsers do not say, and a header can be allowed by mistake in a
// proxy's CORS rules.
//
// A GET of another site has no effect that its page could see, but costs the user
// whose cookie goes with it. That is refused where the browser says so (Sec-Fetch-Site: all
// since 2023, over https): an image of an older one looks like the app's own GET.
func (o *origins) check(r *http.Request, otherSite bool) error {
	if otherSite {
		return errCrossOrigin
	}
	if r.Method == http.MethodGet {
		return nil // no route's GET has side effects
	}
	if v := r.Header[HeaderClient]; len(v) != 1 || v[0] != "1" {
		return errHeaderMissing
	}
	return nil
}

// ofOtherSite reports whether a browser says that r comes from a page of an origin that
// is not allowed.
func (o *origins) ofOtherSite(r *http.Request) bool {
	judged := *r
	judged.Method = http.MethodPost // CrossOriginProtection lets every GET pass
	return o.protection.Check(&judged) != nil
}

// allow sets the CORS headers of an answer to r. An origin that is not allowed
// gets none, and learns nothing of what is.
func (o *origins) allow(w http.ResponseWriter, r *http.Request) bool {
	w.Header().Set("Vary", "Origin")
	v := r.Header["Origin"]
	if len(v) != 1 || !slices.Contains(o.allowed, v[0]) {
		return false
	}
	w.Header().Set("Access-Control-Allow-Origin", v[0])
	w.Header().Set("Access-Control-Allow-Credentials", "true")
	w.Header().Set("Access-Control-Expose-Headers", "Date, Retry-After, X-Correlation-Id")
	return true
}

// preflight reports whether r asks, for a page of an allowed origin, whether it
// may send a request, and which method that would have.
func (o *origins) preflight(r *http.Request, allowed bool) (method string, ok bool) {
	v := r.Header["Access-Control-Request-Method"]
	if !allowed || r.Method != http.MethodOptions || len(v) != 1 {
		return "", false
	}
	return v[0], true
}

// permit is the answer to a preflight of rt.
func (o *origins) permit(w http.ResponseWriter, rt *route) *answer {
	w.Header().Set("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
	w.Header().Set("Access-Control-Allow-Methods", rt.Method)
	w.Header().Set("Access-Control-Allow-Headers", corsHeaders)
	w.Header().Set("Access-Control-Max-Age", "600")
	return &answer{status: http.StatusNoContent}
}
