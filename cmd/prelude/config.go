package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"prelude/internal/eventstore"
	"prelude/internal/llm"
)

// Config is the whole configuration, read once. The zero value of what is optional means that Prelude
// brings the part itself.
type Config struct {
	Listen           string `env:"PRELUDE_LISTEN" default:"127.0.0.1:8080" help:"Address to serve on."`
	Advertise        string `env:"PRELUDE_ADVERTISE" placeholder:"http://…" help:"Where other instances reach this one; the default is the address it serves on."`
	Data             string `env:"PRELUDE_DATA" default:".prelude" help:"Folder for what Prelude keeps." type:"path"`
	EventStore       string `env:"PRELUDE_EVENTSTORE" placeholder:"esdb://…" help:"An EventStoreDB or KurrentDB; none: the embedded node." name:"eventstore"`
	StorePassword    string `env:"PRELUDE_EVENTSTORE_PASSWORD_FILE" placeholder:"FILE" help:"The password of the user in --eventstore, read again when it changes; none: it stands there." name:"eventstore-password-file" type:"path"`
	NodeListen       string `env:"PRELUDE_NODE_LISTEN" placeholder:"HOST:PORT" help:"A loopback address on which the embedded node answers other clients."`
	DatabaseURL      string `env:"DATABASE_URL" placeholder:"postgres://…" help:"A Postgres; none: one that Prelude runs." name:"database-url"`
	DatabasePoolURL  string `env:"DATABASE_POOL_URL" placeholder:"postgres://…" help:"The same Postgres for questions, by the user prelude_login; none: DATABASE_URL's user takes that role." name:"database-pool-url"`
	OpenSearchURL    string `env:"OPENSEARCH_URL" placeholder:"http://…" help:"An OpenSearch; none: Postgres searches." name:"opensearch-url"`
	OpenSearchPrefix string `env:"PRELUDE_OPENSEARCH_PREFIX" default:"presets" help:"The beginning of the index's name, where several installations share an OpenSearch." name:"opensearch-prefix"`
	OpenAIBaseURL    string `env:"OPENAI_BASE_URL" placeholder:"http://…/v1" help:"An OpenAI-compatible server for the models openai/…" name:"openai-base-url"`
	OpenAIKey        string `env:"OPENAI_API_KEY" placeholder:"KEY" help:"Its key." name:"openai-api-key"`
	OpenAIWindow     string `env:"OPENAI_WINDOW_TOKENS" default:"128000" help:"The window of its models, in tokens." name:"openai-window-tokens"`
	TimeoutConnect   string `env:"PRELUDE_TIMEOUT_CONNECT" default:"5s" help:"How long a connection to a model's server may take, and its TLS handshake."`
	TimeoutFirst     string `env:"PRELUDE_TIMEOUT_FIRST" default:"60s" help:"How long a model may take to its first word; a comment of its server starts it again."`
	TimeoutBetween   string `env:"PRELUDE_TIMEOUT_BETWEEN" default:"30s" help:"How long it may take from one word to the next."`
	TimeoutTotal     string `env:"PRELUDE_TIMEOUT_TOTAL" default:"10m" help:"How long a whole reply may take."`
	MasterKeyFile    string `env:"PRELUDE_MASTER_KEY_FILE" placeholder:"FILE" help:"The master key; the default is master.key in the data folder." type:"path"`
	Instance         string `env:"PRELUDE_INSTANCE" placeholder:"ID" help:"This installation's id, noted in the data folder at the first start; the default is a random one."`
	LogLevel         string `env:"PRELUDE_LOG_LEVEL" default:"info" help:"debug, info, warn or error."`

	neither map[string]bool // variables of switches that say neither yes nor no
}

// toggle reads a switch. What is neither yes nor no is noted: check tells of it beside all other faults.
type toggle struct{ cfg *Config }

// IsBool says that a switch needs no value.
func (toggle) IsBool() bool { return true }

// Decode takes a value from a variable, and the name alone as yes.
func (t toggle) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	text := "yes"
	if ctx.Scan.Peek().Type == kong.FlagValueToken {
		text = strings.ToLower(ctx.Scan.Pop().String())
	}
	yes := slices.Contains([]string{"yes", "true", "1"}, text)
	if t.cfg.neither == nil {
		t.cfg.neither = map[string]bool{}
	}
	t.cfg.neither[ctx.Value.Tag.Envs[0]] = !yes && !slices.Contains([]string{"no", "false", "0", ""}, text)
	target.SetBool(yes)
	return nil
}

// check tells all faults of the configuration together.
func (c *Config) check() error {
	var faults []error
	add := func(name, rule string) { faults = append(faults, fmt.Errorf("%s %s", name, rule)) }
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		add("PRELUDE_LISTEN", "must be host:port")
	}
	if c.EventStore != "" {
		if err := eventstore.CheckAddress(c.EventStore); err != nil {
			add("PRELUDE_EVENTSTORE", err.Error())
		}
	}
	if c.StorePassword != "" && c.EventStore == "" {
		add("PRELUDE_EVENTSTORE_PASSWORD_FILE", "is of a user of PRELUDE_EVENTSTORE, which is not set")
	}
	if c.EventStore != "" && c.NodeListen != "" {
		add("PRELUDE_NODE_LISTEN", "is of the embedded node, and PRELUDE_EVENTSTORE is another store")
	}
	if host, _, err := net.SplitHostPort(c.NodeListen); c.NodeListen != "" && (err != nil || !loopback(host)) {
		add("PRELUDE_NODE_LISTEN", "must be a loopback host:port")
	}
	for name, v := range map[string]string{"DATABASE_URL": c.DatabaseURL, "DATABASE_POOL_URL": c.DatabasePoolURL} {
		if v != "" && !strings.HasPrefix(v, "postgres://") && !strings.HasPrefix(v, "postgresql://") &&
			!strings.Contains(v, "=") {
			add(name, "must begin with postgres://")
		}
	}
	if c.DatabasePoolURL != "" && c.DatabaseURL == "" {
		add("DATABASE_POOL_URL", "needs a DATABASE_URL, whose user makes the tables")
	}
	for name, v := range map[string]string{"OPENSEARCH_URL": c.OpenSearchURL, "OPENAI_BASE_URL": c.OpenAIBaseURL,
		"PRELUDE_ADVERTISE": c.Advertise} {
		if u, err := url.Parse(v); v != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
			add(name, "must begin with http:// or https://")
		}
	}
	if c.window() < 1024 {
		add("OPENAI_WINDOW_TOKENS", "must be a number, at least 1024")
	}
	for name, v := range c.timeouts() {
		if d, err := time.ParseDuration(v); v != "" && (err != nil || d < time.Second || d > 24*time.Hour) {
			add(name, "must be a time between 1s and 24h, as 90s or 5m")
		}
	}
	if !instanceForm.MatchString(c.Instance) {
		add("PRELUDE_INSTANCE", "must be at most 64 of a–z, A–Z, 0–9, ., _ and -")
	}
	for name, neither := range c.neither {
		if neither {
			add(name, "must be yes or no")
		}
	}
	if _, err := c.level(); err != nil {
		add("PRELUDE_LOG_LEVEL", "must be debug, info, warn or error")
	}
	return errors.Join(faults...)
}

// store is where the event store is that is not embedded.
func (c *Config) store(logger *slog.Logger) eventstore.Config {
	return eventstore.Config{Address: c.EventStore, PasswordFile: c.StorePassword, Logger: logger}
}

// checkServe tells besides what only matters to a server.
func (c *Config) checkServe() error {
	err := c.check()
	host, _, unformed := net.SplitHostPort(c.Listen)
	if unformed == nil && c.EventStore != "" && c.Advertise == "" && (host == "" || net.ParseIP(host).IsUnspecified()) {
		err = errors.Join(err, errors.New("PRELUDE_ADVERTISE must say where other instances reach this one, for "+
			"PRELUDE_LISTEN names every address"))
	}
	return err
}

var instanceForm = regexp.MustCompile(`^[a-zA-Z0-9._-]{0,64}$`)

// window is the window of the models openai/…, in tokens; 0: the text is no number. Numbers are taken as texts,
// so that check tells of a wrong one beside all other faults.
func (c *Config) window() int {
	n, err := strconv.Atoi(c.OpenAIWindow)
	if err != nil {
		return 0
	}
	return n
}

// timeouts are the bounds on a reply, by the names of their variables.
func (c *Config) timeouts() map[string]string {
	return map[string]string{"PRELUDE_TIMEOUT_CONNECT": c.TimeoutConnect, "PRELUDE_TIMEOUT_FIRST": c.TimeoutFirst,
		"PRELUDE_TIMEOUT_BETWEEN": c.TimeoutBetween, "PRELUDE_TIMEOUT_TOTAL": c.TimeoutTotal}
}

// models says which models there are, and how long they may take; what is not set is the default.
func (c *Config) models(logger *slog.Logger) llm.Config {
	lasts := func(text string) time.Duration {
		d, _ := time.ParseDuration(text) // it was checked
		return d
	}
	return llm.Config{BaseURL: c.OpenAIBaseURL, APIKey: c.OpenAIKey, WindowTokens: c.window(), Logger: logger,
		Timeouts: llm.Timeouts{Connect: lasts(c.TimeoutConnect), FirstToken: lasts(c.TimeoutFirst),
			BetweenTokens: lasts(c.TimeoutBetween), Total: lasts(c.TimeoutTotal)}}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (c *Config) level() (slog.Level, error) {
	var l slog.Level
	return l, l.UnmarshalText([]byte(c.LogLevel))
}

func (c *Config) logger(w io.Writer) *slog.Logger {
	level, err := c.level()
	if err != nil {
		level = slog.LevelInfo // check has said so
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
}

func (c *Config) masterKey() string {
	if c.MasterKeyFile != "" {
		return c.MasterKeyFile
	}
	return filepath.Join(c.Data, "master.key")
}

func (c *Config) path(name string) string { return filepath.Join(c.Data, name) }

// folder makes the data folder, which is the owner's alone.
func (c *Config) folder() error {
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	return nil
}

// maxSocket is the longest path of a unix socket that every system takes.
const maxSocket = 103

// socketPath is the path of the embedded node's socket: in the data folder, or where that path is too long for
// a socket, in a short private folder that is named after it.
func (c *Config) socketPath() string {
	in := c.path("node.sock")
	if len(in) <= maxSocket {
		return in
	}
	sum := sha256.Sum256([]byte(c.Data))
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("prelude-node-%d-%x", os.Geteuid(), sum[:8]))
	if len(dir) > maxSocket-len("/node.sock") {
		dir = filepath.Join("/tmp", filepath.Base(dir))
	}
	return filepath.Join(dir, "node.sock")
}

// socket is socketPath, with its folder made, which is ours alone.
func (c *Config) socket() (string, error) {
	path := c.socketPath()
	dir := filepath.Dir(path)
	if dir == filepath.Clean(c.Data) {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the socket's folder: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", fmt.Errorf("look at the socket's folder: %w", err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || int(st.Uid) != os.Geteuid() || info.Mode().Perm() != 0o700 {
		return "", fmt.Errorf("the folder %s is not ours alone: remove it, or use a shorter data path", dir)
	}
	return path, nil
}
