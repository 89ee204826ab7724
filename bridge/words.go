package bridge

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"syscall"
)

// ownError is an error whose text is the bridge's own, and may be logged. That
// of any other may quote a URL with a password, or what the other side sent.
type ownError string

func (e ownError) Error() string { return string(e) }

// reason says why err came about, in words that may be logged.
func reason(err error) string {
	own, isOwn := errors.AsType[ownError](err)
	network, isNetwork := errors.AsType[net.Error](err)
	_, isName := errors.AsType[*net.DNSError](err)
	_, isCertificate := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case isOwn:
		return own.Error()
	case isNetwork && network.Timeout():
		return "no answer in time"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case isName:
		return "no such host"
	case isCertificate:
		return "certificate not trusted"
	case errors.Is(err, fs.ErrNotExist):
		return "no such file"
	case errors.Is(err, fs.ErrPermission):
		return "no permission"
	}
	return "unknown"
}
