// Command prelude is the chat backend: serve runs it, the other commands look after it. It is the only code
// that knows every part, and wires them by hand.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"reflect"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// version is set by the build.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "prelude: "+err.Error())
		os.Exit(code(err))
	}
}

// code is what the program ends with: 2 where the command line is not understood, else 1.
func code(err error) int {
	if errors.Is(err, errUsage) {
		return 2
	}
	return 1
}

// cli is the command line. Every flag has an environment variable.
type cli struct {
	Config
	Serve       serveCmd       `cmd:"" help:"Run the server."`
	Migrate     migrateCmd     `cmd:"" help:"Bring the database to this program's state."`
	Audit       auditCmd       `cmd:"" help:"Replay who did what, from the log alone."`
	Rebuild     rebuildCmd     `cmd:"" help:"Drop what is built from the log; the next start builds it anew."`
	Projections projectionsCmd `cmd:"" help:"Look after the readers of the log."`
	Log         logCmd         `cmd:"" help:"Back up, restore, verify, copy, compact and watch the log."`
	Node        nodeCmd        `cmd:"" help:"Serve the log alone, on --listen; the first line printed is its address."`
	Org         orgCmd         `cmd:"" help:"Make orgs and issue keys of their owners."`
	Vault       vaultCmd       `cmd:"" help:"Back up the keys of texts, restore them, rotate the master key."`
	Doctor      doctorCmd      `cmd:"" help:"Say what is wrong with each part, and how to mend it."`
	Version     versionCmd     `cmd:"" help:"Print the version."`
}

// streams are where a command writes, and how often it says there how far it is.
type streams struct {
	out, err io.Writer
	pause    time.Duration
}

var errUsage = errors.New("see prelude --help")

// run does what the arguments say.
func run(ctx context.Context, args []string, out, errs io.Writer) error {
	return streams{out, errs, gaugePause}.run(ctx, args)
}

func (s streams) run(ctx context.Context, args []string) error {
	var c cli
	exited := false
	parser, err := kong.New(&c, kong.Name("prelude"), kong.Writers(s.out, s.err),
		kong.Description("A self-hosted chat backend whose unit of reuse is the preset."),
		kong.TypeMapper(reflect.TypeFor[bool](), toggle{&c.Config}),
		kong.Exit(func(int) { exited = true }), kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		return err
	}
	k, err := parser.Parse(args)
	if exited {
		return nil // --help was asked for and given
	}
	if err != nil {
		return fmt.Errorf("%w: %w", err, errUsage)
	}
	k.BindTo(ctx, (*context.Context)(nil))
	return k.Run(&c.Config, s)
}

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(s streams) error {
	_, err := fmt.Fprintln(s.out, version)
	return err
}
