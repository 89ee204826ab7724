package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"time"

	"github.com/go-jose/go-jose/v4/json"

	"gridsigner/bridge"
	"gridsigner/bridge/internal/outbound"
)

// HTTP says how issuers and apps are called. The zero value is https with the
// system's certificate authorities, and http on loopback.
type HTTP struct {
	// CAFile holds certificate authorities in PEM that are believed beside the
	// system's.
	CAFile string

	// CertFile and KeyFile are the certificate, with its chain, and the key in PEM
	// that are shown to a server which asks for them. They are read again for each
	// connection, since such certificates may last for hours only.
	CertFile, KeyFile string

	// InsecureHosts are hosts, without a port, that may be called with http. What is
	// between here and there can then read tokens and say who is who.
	InsecureHosts []string
}

// transport makes a transport that waits for timeout for the head of an answer.
// Its errors name a file, and quote nothing of it.
func (h HTTP) transport(timeout time.Duration) (*http.Transport, error) {
	t := outbound.NewTransport(timeout)
	var errs []error
	if h.CAFile != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool() // a system without any: those of the file are all
		}
		text, err := os.ReadFile(h.CAFile)
		if err == nil && !pool.AppendCertsFromPEM(text) {
			err = fmt.Errorf("%s holds no certificate in PEM", h.CAFile)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("identity: certificate authorities: %w", err))
		}
		t.TLSClientConfig.RootCAs = pool
	}
	if h.CertFile != "" || h.KeyFile != "" {
		_, err := h.certificate(nil)
		errs = append(errs, err)
		t.TLSClientConfig.GetClientCertificate = h.certificate
	}
	return t, errors.Join(errs...)
}

func (h HTTP) certificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	if h.CertFile == "" || h.KeyFile == "" {
		return nil, errors.New("identity: client certificate: a certificate and its key are only of use together")
	}
	certificate, err := tls.LoadX509KeyPair(h.CertFile, h.KeyFile)
	if _, isPath := errors.AsType[*fs.PathError](err); err != nil && !isPath { // its text may be of the file
		err = fmt.Errorf("%s and %s are not a certificate and its key in PEM", h.CertFile, h.KeyFile)
	}
	if err != nil {
		return nil, fmt.Errorf("identity: client certificate: %w", err)
	}
	return &certificate, nil
}

// decode reads JSON as what is signed has to be read: names that differ in case are
// different, and none may be there twice. Where readers disagree on that, what one
// checked is not what the other acts on.
func decode(text []byte, v any) error { return json.Unmarshal(text, v) }

// reasonOf is the reason that err has, or the failure that it is.
func reasonOf(err error) bridge.Reason {
	if reason, ok := errors.AsType[bridge.Reason](err); ok {
		return reason
	}
	return bridge.Reason(outbound.FailureOf(err))
}
