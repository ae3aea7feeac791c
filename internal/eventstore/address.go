package eventstore

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// address is what a connection string says of a store: where it is, who asks, and how it is spoken to. The official
// client's own parser is not used: its errors quote the string, and with it a password, and it passes over options
// that it does not know.
type address struct {
	hosts             []string // host:port, at least one
	discover          bool     // the hosts are asked for the members of their cluster
	user, password    string
	plain             bool // tls=false
	unverified        bool // tlsVerifyCert=false
	caFile            string
	certFile, keyFile string        // of the client's own certificate
	keepAlive         time.Duration // between pings on a connection; below 0: none
	keepAliveTimeout  time.Duration
	prefers           preference
	findTimeout       time.Duration // of one question to one node: who it is, what it can, who else there is
	firstPause        time.Duration // between two attempts to connect, at first
	deadline          time.Duration // of calls whose caller has none
	connectionName    string        // by which the store's operator tells clients apart
}

// preference is the role of the node to use in a cluster.
type preference string

const (
	preferLeader   preference = "leader"
	preferFollower preference = "follower"
	preferReplica  preference = "readonlyreplica"
	preferAny      preference = "random"
)

const (
	// maxAddress is far more than a hundred hosts with all options take.
	maxAddress  = 16 << 10
	defaultPort = "2113"
)

// schemes are the names of the protocol, old and new; true: the host is asked for the cluster's members.
var schemes = map[string]bool{"esdb": false, "esdb+discover": true, "kurrentdb": false, "kurrentdb+discover": true,
	"kdb": false, "kdb+discover": true}

// CheckAddress says what is wrong with a connection string, by rule and part, never with the string itself: it holds a
// password. Files that it names are not looked at.
func CheckAddress(text string) error {
	_, err := parseAddress(text)
	return err
}

func parseAddress(text string) (*address, error) {
	a := &address{keepAlive: 10 * time.Second, keepAliveTimeout: 10 * time.Second, prefers: preferLeader,
		findTimeout: findTime, firstPause: firstPause, deadline: defaultPatience}
	scheme, rest, found := strings.Cut(text, "://")
	discover, known := schemes[scheme]
	before, options, _ := strings.Cut(rest, "?")
	switch {
	case len(text) > maxAddress:
		return nil, fmt.Errorf("has more than %d bytes", maxAddress)
	case strings.ContainsFunc(text, unseen):
		return nil, errors.New("holds a space or a control character")
	case !found || !known:
		return nil, errors.New("must begin with esdb://, kurrentdb:// or kdb://, or with one of these and +discover")
	case strings.Contains(options, "@") || strings.Contains(text, "#"):
		return nil, errEncoding
	}
	if err := a.login(before); err != nil {
		return nil, err
	}
	if err := a.where(before[strings.LastIndexByte(before, '@')+1:]); err != nil {
		return nil, err
	}
	a.discover = discover || len(a.hosts) > 1
	return a, a.options(options)
}

func unseen(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }

var errEncoding = errors.New("has one of @ : / ? # in its user or password that is not percent-encoded " +
	"(%40 %3A %2F %3F %23), or more than one user")

// login takes user:password@.
func (a *address) login(before string) (err error) {
	text, _, found := strings.Cut(before, "@")
	if !found {
		return nil
	}
	user, password, has := strings.Cut(text, ":")
	if strings.Count(before, "@") > 1 || strings.ContainsAny(text, "/,") || strings.Contains(password, ":") {
		return errEncoding
	}
	if a.user, err = url.PathUnescape(user); err == nil {
		a.password, err = url.PathUnescape(password)
	}
	switch {
	case err != nil:
		return errors.New("has a % in its user or password that begins no percent-encoding (a % itself is %25)")
	case a.user == "":
		return errors.New("has a password and no user")
	case !has:
		a.password = ""
	}
	return nil
}

// where takes the hosts.
func (a *address) where(text string) error {
	text = strings.TrimSuffix(text, "/")
	if strings.Contains(text, "/") {
		return errors.New("has a path: after the hosts only ? and options may follow")
	}
	for i, host := range strings.Split(text, ",") {
		joined, err := hostPort(host)
		if err != nil {
			return fmt.Errorf("host %d %w", i+1, err)
		}
		a.hosts = append(a.hosts, joined)
	}
	return nil
}

// hostPort takes a host with or without a port.
func hostPort(text string) (string, error) {
	host, port := text, defaultPort
	if inner, after, bracketed := strings.Cut(strings.TrimPrefix(text, "["), "]"); strings.HasPrefix(text, "[") {
		ip := net.ParseIP(inner)
		if !bracketed || ip == nil || after != "" && after[0] != ':' {
			return "", errors.New("is no IPv6 address in brackets")
		}
		if host = inner; after != "" {
			port = after[1:]
		}
	} else if strings.Count(text, ":") > 1 {
		return "", errors.New("has several colons: an IPv6 address stands in brackets, [::1]:2113")
	} else if before, after, found := strings.Cut(text, ":"); found {
		host, port = before, after
	}
	number, err := strconv.ParseUint(port, 10, 16)
	switch {
	case host == "":
		return "", errors.New("has no name")
	case err != nil || number == 0:
		return "", errors.New("must have a port of 1 to 65535")
	case strings.Trim(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:") != "":
		return "", errors.New("holds a character that no host's name has")
	}
	return net.JoinHostPort(host, port), nil
}

// options takes what stands after the question mark.
func (a *address) options(text string) error {
	seen := map[string]bool{}
	for pair := range strings.SplitSeq(text, "&") {
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		value, err := url.QueryUnescape(value)
		name := strings.ToLower(key)
		switch {
		case err != nil:
			return fmt.Errorf("option %s has a %% that begins no percent-encoding", key)
		case seen[name]:
			return fmt.Errorf("option %s stands there twice", key)
		}
		seen[name] = true
		if err := a.option(name, value); err != nil {
			return fmt.Errorf("option %s %w", key, err)
		}
	}
	if (a.certFile == "") != (a.keyFile == "") {
		return errors.New("option userCertFile needs userKeyFile, and the other way round")
	}
	return nil
}

func (a *address) option(name, value string) (err error) {
	switch name {
	case "tls":
		a.plain, err = toggled(value)
	case "tlsverifycert":
		a.unverified, err = toggled(value)
	case "tlscafile":
		a.caFile, err = value, filled(value)
	case "usercertfile":
		a.certFile, err = value, filled(value)
	case "userkeyfile":
		a.keyFile, err = value, filled(value)
	case "nodepreference":
		a.prefers = preference(strings.ToLower(value))
		if !slices.Contains([]preference{preferLeader, preferFollower, preferReplica, preferAny}, a.prefers) {
			err = errors.New("must be leader, follower, readOnlyReplica or random")
		}
	case "keepaliveinterval":
		a.keepAlive, err = milliseconds(value, -1)
	case "keepalivetimeout":
		a.keepAliveTimeout, err = milliseconds(value, 1)
	case "gossiptimeout":
		a.findTimeout, err = milliseconds(value, 1)
		a.findTimeout *= 1000 // it is in seconds
		if err == nil && a.findTimeout > time.Minute {
			err = errors.New("must be a number of seconds, 1 to 60")
		}
	case "discoveryinterval":
		a.firstPause, err = milliseconds(value, 1)
	case "defaultdeadline":
		a.deadline, err = milliseconds(value, 1)
	case "connectionname":
		a.connectionName, err = value, filled(value)
	case "maxdiscoverattempts":
		err = errors.New("cannot be had: the store is looked for until it is there; leave the option out")
	default:
		err = errors.New("is none of tls, tlsVerifyCert, tlsCaFile, userCertFile, userKeyFile, nodePreference, " +
			"keepAliveInterval, keepAliveTimeout, gossipTimeout, discoveryInterval, defaultDeadline, connectionName")
	}
	return err
}

// toggled gives the opposite of what true or false says: the zero value of an address has TLS, and verifies.
func toggled(value string) (off bool, err error) {
	switch strings.ToLower(value) {
	case "true":
		return false, nil
	case "false":
		return true, nil
	}
	return false, errors.New("must be true or false")
}

func filled(value string) error {
	if value == "" {
		return errors.New("is empty")
	}
	return nil
}

// mostMilliseconds bounds times in an address: an hour.
const mostMilliseconds = 3_600_000

func milliseconds(value string, least int) (time.Duration, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > mostMilliseconds {
		return 0, fmt.Errorf("must be a whole number, %d to %d", least, mostMilliseconds)
	}
	return time.Duration(n) * time.Millisecond, nil
}
