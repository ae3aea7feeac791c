package eventstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Reason is why a store cannot be used, in words for people, and how that is mended. It never quotes the address.
type Reason struct {
	Text    string
	Remedy  string
	Lasting bool // waiting does not mend it: somebody has to do something
}

func (r *Reason) Error() string { return r.Text }

// ReasonOf is the reason that an error of this package carries; nil: it has none beyond its own words.
func ReasonOf(err error) *Reason {
	var r *Reason
	if errors.As(err, &r) {
		return r
	}
	return nil
}

const (
	mendAddress = "make %s lead to an EventStoreDB or KurrentDB, with tls=false where that speaks no TLS"
	mendLogin   = "set the user and the password in %s to those of a user of the store, percent-encoded"
	mendCA      = "set tlsCaFile in %s to the certificate of the authority that signed the store's"
	mendRights  = "give the user of %s its rights: docs/operations.md lists the least it needs"
)

// What an address may lead to that is no event store, or not one that is spoken to in the right way; and what a store
// refuses. In remedies, %s is what gives the address.
var (
	errNoStore  = answers("HTTP/2, and is no event store")
	errWeb      = answers("HTTP/1, and is no event store")
	errOther    = answers("another protocol, and is no event store")
	errSecret   = answers("TLS, and the address says tls=false")
	errOpen     = answers("no TLS: for a plain connection the address has to say tls=false")
	errNotHTTP2 = answers("TLS and not HTTP/2, and is no event store")

	errTooOld = &Reason{Text: "the event store does not announce batch appends: it must be 21.10 or newer", Lasting: true,
		Remedy: "run a newer event store"}
	errAuthority = &Reason{Text: "the store's certificate is signed by an authority that is not trusted", Lasting: true,
		Remedy: mendCA}
	errHost = &Reason{Text: "the store's certificate is not for the host that the address names", Lasting: true,
		Remedy: "use a name in %s that the certificate has, or give the node a certificate for this one"}
	errExpired = &Reason{Text: "the store's certificate has expired, or is not valid yet", Lasting: true,
		Remedy: "give the node a certificate that is valid now, and look at both clocks"}
	errCertificate = &Reason{Text: "the store's certificate cannot be used", Lasting: true,
		Remedy: "give the node a certificate for servers, signed by an authority that %s trusts"}
	errUserCert = &Reason{Text: "the store refuses the certificate of its user, or wants one", Lasting: true,
		Remedy: "set userCertFile and userKeyFile in %s to a certificate that the store takes"}
	errCredentials = &Reason{Text: "the store refuses the user or the password of %s", Lasting: true, Remedy: mendLogin}
	errAnonymous   = &Reason{Text: "the store refuses whoever comes without a user, and %s names none", Lasting: true,
		Remedy: mendLogin}
	errRead = &Reason{Text: "the store does not let the user of %s read what Prelude has to read", Lasting: true,
		Remedy: mendRights}
	errWrite = &Reason{Text: "the store does not let the user of %s append", Lasting: true, Remedy: mendRights}
	errPlace = &Reason{Text: "the event store's node handles no calls at this moment: it is starting, too busy, or " +
		"cut off from its cluster", Remedy: "look after the store's cluster; name all of its nodes in %s"}
	errNoNode = &Reason{Text: "no node of the cluster can be used at this moment",
		Remedy: "start the nodes that %s names, or name all of the cluster"}
	errNobody = &Reason{Text: "nobody answers at the event store's address",
		Remedy: "start the store that %s names"}
	errMute = &Reason{Text: "the event store takes connections and does not answer",
		Remedy: "look after the store that %s names: it hangs, or something between swallows what is said"}
	errHangsUp = &Reason{Text: "what answers at the event store's address ends each connection without an answer",
		Remedy: "make %s lead to an event store; where it does, look after what stands between"}
	errName = &Reason{Text: "the host that %s names is not known", Lasting: true,
		Remedy: "set %s to a host that can be looked up from here"}
)

func answers(speaks string) *Reason {
	return &Reason{Text: "what answers at the event store's address speaks " + speaks, Lasting: true, Remedy: mendAddress}
}

// explained is how a call ended, with why in words for people.
type explained struct {
	*Reason
	cause error
}

// Unwrap gives both: what the end means for the call is told by its cause.
func (e explained) Unwrap() []error { return []error{e.Reason, e.cause} }

// because adds the reason, where one is known, to how a call ended that reads or appends.
func (s *Store) because(err error, appends bool) error {
	var r *Reason
	switch code := status.Code(err); kindOf(err) {
	case denied:
		switch {
		case s.address.user == "" || s.address.plain:
			r = errAnonymous
		case code == codes.Unauthenticated:
			r = errCredentials
		case appends:
			r = errWrite
		default:
			r = errRead
		}
	case elsewhere:
		r = errPlace
	default:
		return err
	}
	return explained{s.named(r), err}
}

// telling is the newer of two ends of a call's attempts, or the older where that alone says why: the last attempt often
// ends because the caller's time is up.
func telling(older, newer error) error {
	if ReasonOf(newer) == nil && ReasonOf(older) != nil {
		return older
	}
	return newer
}

// explainTLS looks at why a TLS connection to an address cannot be made; nil: it can, or nobody is there.
func explainTLS(ctx context.Context, address string, config *tls.Config) *Reason {
	state, err := handshake(ctx, address, config)
	if err == nil && state.NegotiatedProtocol != "h2" {
		return errNotHTTP2
	}
	var record tls.RecordHeaderError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verify *tls.CertificateVerificationError
	var alert tls.AlertError
	switch {
	case errors.As(err, &record):
		return errOpen
	case errors.As(err, &authority):
		return errAuthority
	case errors.As(err, &host):
		return errHost
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return errExpired
	case errors.As(err, &verify), errors.As(err, &invalid):
		return errCertificate
	case errors.As(err, &alert):
		return errUserCert
	}
	return nil
}
