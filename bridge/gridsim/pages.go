package gridsim

import (
	"crypto/sha256"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// pages are those on which passkeys may be used, by the rpId that they name and
// by their origins. Grid is told neither by its API, so the zero value takes
// every rpId and every origin that a browser would.
type pages struct {
	rpID    string
	origins []string
}

// host returns the host of an origin where passkeys may be used.
func (p pages) host(origin string) (host string, ok bool) {
	if len(p.origins) == 0 {
		return secureHost(origin)
	}
	u, err := url.Parse(origin)
	if err != nil || !slices.Contains(p.origins, origin) {
		return "", false
	}
	return u.Hostname(), true // of an app's origin, ""
}

// secureHost returns the host of an origin where browsers allow passkeys: one
// with a name, since an rpId is a domain.
func secureHost(origin string) (host string, ok bool) {
	u, err := url.Parse(origin)
	if err != nil || u.Hostname() == "" || origin != u.Scheme+"://"+u.Host {
		return "", false
	}
	host = u.Hostname()
	if isAddress(host) {
		return "", false
	}
	return host, u.Scheme == "https" || u.Scheme == "http" && (host == "localhost" || strings.HasSuffix(host, ".localhost"))
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// mayName tells whether the hash is of an rpId that a page on host may name: the
// configured one or, if there is none, the host itself or a parent domain with a
// dot in it. Which of those are public suffixes, browsers know.
func (p pages) mayName(hash [sha256.Size]byte, host string) bool {
	if p.rpID != "" {
		return hash == sha256.Sum256([]byte(p.rpID))
	}
	for id := host; ; {
		if hash == sha256.Sum256([]byte(id)) {
			return true
		}
		_, parent, ok := strings.Cut(id, ".")
		if !ok || !strings.Contains(parent, ".") {
			return false
		}
		id = parent
	}
}
