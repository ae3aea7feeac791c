package eventstore

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// failure is what v4.2.0 of the client logs when a call has failed, in that call's goroutine,
// before it does anything about it.
const failure = "unexpected exception: %v"

// bridge passes what the client says on, quietly: it calls errors what the guard mends. It is also
// the only place where the guard hears of a broken connection before the client acts on it.
func (c *client) bridge(logger *slog.Logger) esdb.LoggingFunc {
	return func(level esdb.LogLevel, format string, args ...any) {
		if format == failure && len(args) == 1 {
			if err, ok := args[0].(error); ok && status.Code(err) == codes.Unavailable {
				c.failing()
			}
		}
		if logger.Enabled(context.Background(), slog.LevelDebug) {
			logger.Debug("event store client", "client_level", level,
				"client_message", fmt.Sprintf(format, args...))
		}
	}
}

// entering is a call's context. The client turns to it as soon as it has a connection for the call.
type entering struct {
	context.Context
	entered func()
}

// Deadline is the first that the client asks of a context.
func (e entering) Deadline() (deadline time.Time, ok bool) {
	e.entered()
	return e.Context.Deadline()
}
