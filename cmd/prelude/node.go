package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"prelude/internal/esnode"
)

type nodeCmd struct {
	MaxAppendSize int `env:"PRELUDE_NODE_MAX_APPEND_SIZE" default:"1048576" placeholder:"BYTES" help:"How large the events of one append may be together, up to 16777216; the default is a KurrentDB's."`

	TLSCert      string `env:"PRELUDE_NODE_TLS_CERT" placeholder:"FILE" type:"path" help:"A certificate, needed to listen beyond loopback."`
	TLSKey       string `env:"PRELUDE_NODE_TLS_KEY" placeholder:"FILE" type:"path" help:"The certificate's key."`
	User         string `env:"PRELUDE_NODE_USER" placeholder:"NAME" help:"The user that clients come as."`
	PasswordFile string `env:"PRELUDE_NODE_PASSWORD_FILE" placeholder:"FILE" type:"path" help:"A file with the user's password."`
}

// Run serves the log in the data folder to several instances and to other clients, until it is told to stop.
func (c nodeCmd) Run(ctx context.Context, cfg *Config, s streams) error {
	err := cfg.own()
	if err == nil {
		err = cfg.folder()
	}
	if err != nil {
		return err
	}
	node, err := c.start(ctx, cfg, cfg.logger(s.err))
	if err != nil {
		return err
	}
	// Whoever started it reads the address, and knows then that it answers.
	if _, err := fmt.Fprintln(s.out, node.Addr()); err != nil {
		return errors.Join(err, node.Close())
	}
	<-ctx.Done()
	return node.Close()
}

// start starts the node of the data folder, with its socket too, so that the other commands find it.
func (c nodeCmd) start(ctx context.Context, cfg *Config, logger *slog.Logger) (*esnode.Node, error) {
	socket, err := cfg.socket()
	if err != nil {
		return nil, err
	}
	password := ""
	if c.PasswordFile != "" {
		text, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("read the password's file: %w", err)
		}
		password = strings.TrimRight(string(text), "\r\n")
	}
	node, err := esnode.Start(ctx, shapeNode(esnode.Config{Dir: cfg.path("log"), Socket: socket, Listen: cfg.Listen,
		MaxAppendSize: c.MaxAppendSize, CertFile: c.TLSCert, KeyFile: c.TLSKey, User: c.User, Password: password,
		Logger: logger}))
	if errors.Is(err, esnode.ErrLocked) {
		return nil, errAlone
	}
	return node, err
}
