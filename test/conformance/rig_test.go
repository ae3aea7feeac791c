package conformance

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"prelude/internal/esnode"
	"prelude/internal/eventstore/storetest"
	"prelude/test/conformance/wire"
)

// addressVariable names the store to test.
const addressVariable = "PRELUDE_TEST_EVENTSTORE"

var (
	address string                             // of the store under test
	run     = uuid.NewString()[:8]             // in every name, so that a store may be tested again
	ours    = os.Getenv(addressVariable) == "" // the store is a node that was started for it
	form    nodeForm                           // of that node
)

// nodeForm is a way in which a node of ours answers; the rules hold for each.
type nodeForm struct {
	name string
	cfg  esnode.Config
}

// forms gives those that the suite runs against, one after the other: in its long form all of them.
func forms(seed uint64) []nodeForm {
	all := []nodeForm{
		{"as it is", esnode.Config{}},
		{"with the moods and notices of a 24.6", esnode.Config{Notices: 24, Moods: esnode.RealMoods(seed)}},
	}
	if storetest.Long() {
		all = append(all,
			nodeForm{"with the notices of a 24.6", esnode.Config{Notices: 24}},
			nodeForm{"with moods", esnode.Config{Moods: esnode.RealMoods(seed)}})
	}
	return all
}

func TestMain(m *testing.M) {
	code, err := runAll(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runAll(m *testing.M) (code int, err error) {
	if address = os.Getenv(addressVariable); address != "" {
		return m.Run(), nil
	}
	seed := rand.Uint64()
	for _, form = range forms(seed) {
		if code, err = runOurs(m); code != 0 || err != nil {
			fmt.Printf("the node was one %s, seed %d\n", form.name, seed)
			return code, err
		}
	}
	return 0, nil
}

// runOurs runs the suite against a node of ours in the form that form says.
func runOurs(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "conformance")
	if err != nil {
		return 1, fmt.Errorf("make a folder: %w", err)
	}
	cfg := form.cfg
	cfg.Dir, cfg.Listen = dir, "127.0.0.1:0"
	node, err := esnode.Start(context.Background(), cfg)
	if err != nil {
		return 1, errors.Join(err, os.RemoveAll(dir))
	}
	address = "esdb://" + node.Addr() + "?tls=false"
	code = m.Run()
	return code, errors.Join(node.Close(), os.RemoveAll(dir))
}

// configuration is that of a client to the store under test.
func configuration(t *testing.T) *esdb.Configuration {
	t.Helper()
	c, err := esdb.ParseConnectionString(address)
	if err != nil {
		t.Fatalf("%s: %v", addressVariable, err)
	}
	c.Logger = func(esdb.LogLevel, string, ...interface{}) {}
	return c
}

// official is the official client.
func official(t *testing.T) *esdb.Client {
	t.Helper()
	c, err := esdb.NewClient(configuration(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// plain is a client that knows only the protocol.
func plain(t *testing.T) *wire.Client {
	t.Helper()
	cfg := configuration(t)
	c := wire.Dial(t, cfg.Address, dialOptions(cfg)...)
	t.Cleanup(func() {
		if err := c.Conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func dialOptions(cfg *esdb.Configuration) []grpc.DialOption {
	if cfg.DisableTLS {
		return []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	}
	opts := []grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: cfg.RootCAs,
		InsecureSkipVerify: cfg.SkipCertificateVerification,
	}))}
	if cfg.Username != "" {
		opts = append(opts, grpc.WithPerRPCCredentials(basic{cfg.Username, cfg.Password}))
	}
	return opts
}

// basic are the credentials of every call.
type basic struct{ user, password string }

func (b basic) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	word := base64.StdEncoding.EncodeToString([]byte(b.user + ":" + b.password))
	return map[string]string{"authorization": "Basic " + word}, nil
}

func (basic) RequireTransportSecurity() bool { return true }

// named gives a name that no other test and no other run uses.
func named(t *testing.T, name string) string {
	t.Helper()
	return fmt.Sprintf("conformance_%s-%s-%s", run, strings.ReplaceAll(t.Name(), "/", "_"), name)
}
