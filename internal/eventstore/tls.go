package eventstore

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// maxFile is the most bytes that a file of certificates, or of a password, may have.
const maxFile = 1 << 20

// tlsConfig reads the files that the address names, anew for each connection: so they can be exchanged while the
// program runs.
func (a *address) tlsConfig() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12,
		InsecureSkipVerify: a.unverified} //nolint:gosec // tlsVerifyCert=false asks for it, and is warned of
	if a.caFile != "" {
		text, err := readFile("tlsCaFile", a.caFile)
		if err != nil {
			return nil, err
		}
		if c.RootCAs, err = authorities(text); err != nil {
			return nil, &Reason{Text: "tlsCaFile " + a.caFile + " " + err.Error(), Lasting: true,
				Remedy: "name a file with the certificates of the authorities that signed the store's, in PEM"}
		}
	}
	if a.certFile != "" {
		cert, err := readFile("userCertFile", a.certFile)
		if err != nil {
			return nil, err
		}
		key, err := readFile("userKeyFile", a.keyFile)
		if err != nil {
			return nil, err
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil { // it may quote the files
			return nil, &Reason{Text: "userCertFile and userKeyFile are no certificate and its key", Lasting: true,
				Remedy: "name a certificate and the key that belongs to it, in PEM"}
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// authorities reads certificates. What else a file holds is no mistake, but for a private key: whoever names the file
// that has it has most likely named the wrong one, and hands it round.
func authorities(text []byte) (*x509.CertPool, error) {
	pool, n := x509.NewCertPool(), 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if strings.Contains(block.Type, "PRIVATE KEY") {
			return nil, errors.New("holds a private key")
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.New("holds a certificate that cannot be read")
		}
		pool.AddCert(cert)
		n++
	}
	if n == 0 {
		return nil, errors.New("holds no certificate")
	}
	return pool, nil
}

// readFile reads a file that an option names.
func readFile(option, path string) ([]byte, error) {
	bad := func(what string) error {
		return &Reason{Text: option + " " + path + " " + what, Lasting: true,
			Remedy: "name a file that is there and that this program may read"}
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, bad("is not there")
	case err != nil:
		return nil, bad("cannot be looked at")
	case !info.Mode().IsRegular():
		return nil, bad("is no file")
	case info.Size() > maxFile:
		return nil, bad(fmt.Sprintf("has more than %d bytes", maxFile))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, bad("cannot be read")
	}
	defer func() { _ = f.Close() }() // nothing was written
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, bad("cannot be read")
	}
	return text, nil
}

// rereadEvery is how long a password from a file is used without a look at the file.
const rereadEvery = time.Second

// login is the user and password that every call over TLS carries. A password in a file may change while the program
// runs: it is looked at again, so no connection need be given up for it.
type login struct {
	user, password, file string

	mu     sync.Mutex
	looked time.Time
	header map[string]string
}

// GetRequestMetadata gives the header.
func (l *login) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.header != nil && (l.file == "" || time.Since(l.looked) < rereadEvery) {
		return l.header, nil
	}
	password := l.password
	if l.file != "" {
		text, err := readFile("the password's file", l.file)
		if err != nil {
			if l.header != nil {
				return l.header, nil // it is being exchanged; the one before may still be right
			}
			return nil, err
		}
		password, l.looked = string(bytes.TrimRight(text, "\r\n")), time.Now()
	}
	text := base64.StdEncoding.EncodeToString([]byte(l.user + ":" + password))
	l.header = map[string]string{"authorization": "Basic " + text}
	return l.header, nil
}

// RequireTransportSecurity keeps the password off plain connections.
func (*login) RequireTransportSecurity() bool { return true }
