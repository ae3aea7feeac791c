package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"prelude/internal/esnode"
)

type nodeCmd struct{}

// Run serves the log in the data folder to several instances and to other clients, until it is told to stop.
func (nodeCmd) Run(ctx context.Context, cfg *Config, s streams) error {
	err := cfg.own()
	if err == nil {
		err = cfg.folder()
	}
	if err != nil {
		return err
	}
	node, err := startAlone(ctx, cfg, cfg.logger(s.err))
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

// startAlone starts the node of the data folder, with its socket too, so that the other commands find it.
func startAlone(ctx context.Context, cfg *Config, logger *slog.Logger) (*esnode.Node, error) {
	socket, err := cfg.socket()
	if err != nil {
		return nil, err
	}
	node, err := esnode.Start(ctx, esnode.Config{Dir: cfg.path("log"), Socket: socket, Listen: cfg.Listen,
		Logger: logger})
	if errors.Is(err, esnode.ErrLocked) {
		return nil, errAlone
	}
	return node, err
}
