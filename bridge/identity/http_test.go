package identity_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gridsigner/bridge"
	"gridsigner/bridge/identity"
)

// authority is a private certificate authority.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	dir         string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.certificate, a.key = a.issue(t, "ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// issue writes NAME.pem and NAME.key.
func (a *authority) issue(t *testing.T, name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.certificate, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, name+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	a.write(t, name+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})))
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, key
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(a.file(name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestPrivateAuthority has an app and an issuer whose certificates are a private
// authority's, and which want to see one of its in turn.
func TestPrivateAuthority(t *testing.T) {
	a := newAuthority(t)
	client := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	a.issue(t, "bridge", client)
	a.issue(t, "server", &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	pair, err := tls.LoadX509KeyPair(a.file("server.pem"), a.file("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	known := x509.NewCertPool()
	known.AddCert(a.certificate)
	shown := ""
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown = r.TLS.PeerCertificates[0].SerialNumber.String()
		if r.URL.Path == "/keys" {
			w.Write(jwks(newES256(t, "k")))
			return
		}
		w.Header().Set("X-Gridsigner-User", "u")
		w.Header().Set("Connection", "close")
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: known}
	log := &lockedBuffer{}
	server.Config.ErrorLog = newLogger(log)
	server.StartTLS()
	defer server.Close()
	whole := identity.HTTP{CAFile: a.file("ca.pem"), CertFile: a.file("bridge.pem"), KeyFile: a.file("bridge.key")}
	for _, v := range []struct {
		name   string
		http   identity.HTTP
		reason bridge.Reason
	}{
		{"all", whole, ""},
		{"no-authority", identity.HTTP{CertFile: whole.CertFile, KeyFile: whole.KeyFile}, bridge.ReasonTLS},
		{"no-certificate", identity.HTTP{CAFile: whole.CAFile}, bridge.ReasonTLS},
	} {
		t.Run(v.name, func(t *testing.T) {
			_, err := identity.NewOIDC(t.Context(), one(identity.KeysFrom(server.URL+"/keys", v.http)))
			assertReason(t, err, v.reason)
			authenticate, err := identity.NewForwardAuth(identity.ForwardAuth{URL: server.URL, HTTP: v.http})
			if err != nil {
				t.Fatal(err)
			}
			_, err = authenticate(cookieRequest("sid=1", "192.0.2.1"))
			assertReason(t, err, v.reason)
		})
	}
	authenticate, err := identity.NewForwardAuth(identity.ForwardAuth{URL: server.URL, HTTP: whole})
	if err != nil {
		t.Fatal(err)
	}
	renewed, _ := a.issue(t, "bridge", client)
	if _, err := authenticate(cookieRequest("sid=2", "192.0.2.1")); err != nil || shown != renewed.SerialNumber.String() {
		t.Errorf("after it was renewed: error %v, certificate %s, want %s", err, shown, renewed.SerialNumber)
	}
}

// TestFailures are of calls that come to nothing.
func TestFailures(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	closed := httptest.NewServer(nil)
	closed.Close()
	for _, v := range []struct {
		name, url string
		reason    bridge.Reason
	}{
		{"no-TLS-there", "https" + strings.TrimPrefix(plain.URL, "http"), bridge.ReasonTLS},
		{"nobody-listens", closed.URL, bridge.ReasonRefused},
	} {
		_, err := identity.KeysFrom(v.url, identity.HTTP{})(t.Context())
		assertReason(t, err, v.reason)
		authenticate, err := identity.NewForwardAuth(identity.ForwardAuth{URL: v.url})
		if err != nil {
			t.Fatal(err)
		}
		_, err = authenticate(cookieRequest("sid=1", "192.0.2.1"))
		assertReason(t, err, v.reason)
	}
	_, err := identity.KeysFrom(plain.URL, identity.HTTP{})(t.Context())
	assertReason(t, err, bridge.ReasonStatus)
}

// TestFilesOfHTTP spoils one file at a time: the error names it, and quotes nothing.
func TestFilesOfHTTP(t *testing.T) {
	a := newAuthority(t)
	a.write(t, "garbage", canary)
	a.write(t, "block", "-----BEGIN "+canaryPart+"-----\nAAAA\n-----END "+canaryPart+"-----\n")
	a.write(t, "der", "-----BEGIN CERTIFICATE-----\n"+b64.EncodeToString([]byte(canaryPart+"."))+"\n-----END CERTIFICATE-----\n")
	a.issue(t, "other", &x509.Certificate{})
	for _, v := range []struct {
		name, ca, cert, key string
		want                []string
	}{
		{"good", "ca.pem", "ca.pem", "ca.key", nil},
		{"no-ca", "none", "", "", []string{"none", "no such file"}},
		{"ca-garbage", "garbage", "", "", []string{"garbage", "no certificate in PEM"}},
		{"ca-of-another-kind", "block", "", "", []string{"block", "no certificate in PEM"}},
		{"ca-damaged", "der", "", "", []string{"der", "no certificate in PEM"}},
		{"no-certificate", "", "none", "ca.key", []string{"none", "no such file"}},
		{"no-key", "", "ca.pem", "none", []string{"none", "no such file"}},
		{"certificate-alone", "", "ca.pem", "", []string{"only of use together"}},
		{"key-alone", "", "", "ca.key", []string{"only of use together"}},
		{"certificate-garbage", "", "garbage", "ca.key", []string{"garbage", "ca.key", "not a certificate and its key"}},
		{"certificate-of-another-kind", "", "block", "ca.key", []string{"block", "not a certificate and its key"}},
		{"certificate-damaged", "", "der", "ca.key", []string{"der", "not a certificate and its key"}},
		{"key-of-another-kind", "", "ca.pem", "block", []string{"block", "not a certificate and its key"}},
		{"key-of-another", "", "ca.pem", "other.key", []string{"other.key", "not a certificate and its key"}},
		{"both", "garbage", "ca.pem", "none", []string{"garbage", "none"}},
	} {
		t.Run(v.name, func(t *testing.T) {
			path := func(name string) string {
				if name == "" {
					return ""
				}
				return a.file(name)
			}
			h := identity.HTTP{CAFile: path(v.ca), CertFile: path(v.cert), KeyFile: path(v.key)}
			_, errApp := identity.NewForwardAuth(identity.ForwardAuth{URL: "https://app.example/", HTTP: h})
			_, errKeys := identity.KeysFrom("https://127.0.0.1:1/", h)(t.Context())
			_, errFile := identity.KeysFrom(a.file("garbage"), h)(t.Context())
			_, errDiscovery := identity.DiscoverKeys("https://127.0.0.1:1", h)(t.Context())
			if v.want == nil {
				if errApp != nil || errFile != nil {
					t.Errorf("errors = %v, %v", errApp, errFile)
				}
				return
			}
			for _, err := range []error{errApp, errKeys, errFile, errDiscovery} {
				if err == nil {
					t.Fatal("no error")
				}
				for _, want := range v.want {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("error = %v, want %q in it", err, want)
					}
				}
				assertNoCanary(t, "the error", err.Error())
			}
		})
	}
}

// TestInsecureHosts has keys behind http, and nobody who waits for them: what is
// called ends with that, and what may not be called before it.
func TestInsecureHosts(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, v := range []struct {
		name, location string
		hosts          []string
		called         bool
	}{
		{"named", "http://localhost.invalid/keys", []string{"localhost.invalid"}, true},
		{"not-named", "http://localhost.invalid/keys", nil, false},
		{"another", "http://localhost.invalid/keys", []string{"invalid"}, false},
		{"user", "http://u:p@localhost.invalid/keys", []string{"localhost.invalid"}, false},
	} {
		h := identity.HTTP{InsecureHosts: v.hosts}
		for name, source := range map[string]identity.KeySource{"KeysFrom": identity.KeysFrom(v.location, h), "DiscoverKeys": identity.DiscoverKeys(v.location, h)} {
			_, err := source(ctx)
			want := bridge.ReasonForm
			if v.called {
				want = bridge.ReasonCanceled
			}
			t.Run(v.name+"/"+name, func(t *testing.T) { assertReason(t, err, want) })
		}
	}
}
