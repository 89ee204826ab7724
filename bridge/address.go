package bridge

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// address is the client's address as far as it can be known: that of the
// connection or, if that is of a trusted proxy, the last in X-Forwarded-For
// that is not. What stands before it was written by the client. It is the zero
// address if the connection is not TCP, as nobody knows then who is behind it, but for a
// Unix socket's, of which the operator may know that.
func (b *bridge) address(r *http.Request) netip.Addr {
	var addr netip.Addr
	trusted := b.TrustUnix && isUnix(r)
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		addr = peer.Addr().Unmap().WithZone("")
		trusted = b.trusted(addr)
	}
	for hops := strings.Join(r.Header["X-Forwarded-For"], ","); hops != "" && trusted; trusted = b.trusted(addr) {
		comma := strings.LastIndexByte(hops, ',')
		next, err := parseHop(strings.TrimSpace(hops[comma+1:]))
		if err != nil {
			break
		}
		addr, hops = next.Unmap().WithZone(""), hops[:max(comma, 0)]
	}
	return addr
}

// parseHop reads an address as proxies write it: some add the port.
func parseHop(text string) (netip.Addr, error) {
	if hop, err := netip.ParseAddrPort(text); err == nil {
		return hop.Addr(), nil
	}
	return netip.ParseAddr(text)
}

// isUnix reports whether r came by a Unix socket.
func isUnix(r *http.Request) bool {
	_, ok := r.Context().Value(http.LocalAddrContextKey).(*net.UnixAddr)
	return ok
}

func (b *bridge) trusted(addr netip.Addr) bool {
	return slices.ContainsFunc(b.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// trustedProxies refuses networks so wide that they are no proxies: whoever is trusted
// can say that it comes from anywhere. The widest private ones are 10.0.0.0/8 and fc00::/7.
// What is IPv4 in IPv6 becomes IPv4, as addresses do.
func trustedProxies(given []netip.Prefix) (proxies []netip.Prefix, err error) {
	var errs []error
	for _, p := range given {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		if !p.IsValid() || p.Addr().Is4() && p.Bits() < 8 || p.Bits() < 7 {
			errs = append(errs, fmt.Errorf("bridge: %s is too wide for a network of trusted proxies: strangers are in it", p))
		}
		proxies = append(proxies, p)
	}
	return proxies, errors.Join(errs...)
}

// bucketOf is whose limits addr counts towards. A household or a machine has a whole /64
// of IPv6 to choose from, and some a /48; network is "" for IPv4.
func bucketOf(addr netip.Addr) (address, network string) {
	if !addr.Is6() {
		return addr.String(), "" // "invalid IP" is a bucket, too: of all that is not TCP
	}
	return prefixOf(addr, 64), prefixOf(addr, 48)
}

// prefixOf is the network of bits that addr is in, which has as many.
func prefixOf(addr netip.Addr, bits int) string {
	prefix, _ := addr.Prefix(bits)
	return prefix.String()
}

// LogAddress is how the client's address is written to the log.
type LogAddress string

const (
	LogAddressWhole     LogAddress = "whole"     // as it is
	LogAddressTruncated LogAddress = "truncated" // its network: /24 of IPv4, /48 of IPv6
	LogAddressHashed    LogAddress = "hashed"    // 64 bits of an HMAC under a key of [Config.Key]
)

// describe is addr as it may be logged.
func (b *bridge) describe(addr netip.Addr) string {
	switch {
	case !addr.IsValid():
		return ""
	case b.LogAddress == LogAddressHashed:
		return b.hash(addr.String())[:16]
	case b.LogAddress == LogAddressTruncated && addr.Is4():
		return prefixOf(addr, 24)
	case b.LogAddress == LogAddressTruncated:
		return prefixOf(addr, 48)
	}
	return addr.String()
}

// hash stands for text in the log and the audit: who has the key can find what text has, and
// nobody can find text.
func (b *bridge) hash(text string) string {
	return hash(b.auditKey, text)
}

// hash takes the digits of an id in either case for the same.
func hash(key []byte, text string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(strings.ToLower(text)))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// AuditHash is what stands for id, of a session, a credential or a request, in the audit
// of a bridge whose [Config.Key] is key.
func AuditHash(key Secret, id string) string { return hash(key.Derive("audit"), id) }

type addressKey struct{}

// ClientAddress is the address of the client whose request ctx is of, as far as it
// can be known ([Config.TrustedProxies]). It is for [Config.Authenticate].
func ClientAddress(ctx context.Context) netip.Addr {
	addr, _ := ctx.Value(addressKey{}).(netip.Addr)
	return addr
}
