package outbound

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
)

// Failure says why a call came to nothing, in a word of a closed set that may be
// logged and counted. The text of an error may quote a URL with a password, or
// what the other side sent.
type Failure string

// Each is also the text of a reason of package bridge's.
const (
	Timeout  Failure = "timeout"  // no answer in time
	DNS      Failure = "dns"      // no such host
	Refused  Failure = "refused"  // nobody listens there, or there is no way there
	TLS      Failure = "tls"      // a certificate is not trusted, here or there, or there is no TLS
	HungUp   Failure = "hung-up"  // the connection was closed
	Canceled Failure = "canceled" // nobody waits for it any more
	NotFound Failure = "no-file"
	Denied   Failure = "no-permission"
	Unknown  Failure = "unknown"
)

// FailureOf names the failure that err is.
func FailureOf(err error) Failure {
	network, isNetwork := errors.AsType[net.Error](err)
	_, isName := errors.AsType[*net.DNSError](err)
	_, isCertificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, isRecord := errors.AsType[tls.RecordHeaderError](err)
	operation, isOperation := errors.AsType[*net.OpError](err)
	isAlert := isOperation && (operation.Op == "remote error" || operation.Op == "local error") // package tls exports no better sign
	switch {
	case errors.Is(err, context.Canceled):
		return Canceled
	case isName:
		return DNS
	case isNetwork && network.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return Timeout
	case isCertificate, isRecord, isAlert, errors.Is(err, http.ErrSchemeMismatch):
		return TLS
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return Refused
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return HungUp
	case errors.Is(err, fs.ErrNotExist):
		return NotFound
	case errors.Is(err, fs.ErrPermission):
		return Denied
	}
	return Unknown
}
