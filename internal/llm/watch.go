package llm

import (
	"context"
	"errors"
	"io"
	"time"
)

var (
	errTotal  = errors.New("reply took too long")
	errSilent = errors.New("model is silent")
)

// watch ends a reply's context when the server takes too long. Only waiting for the server counts, not how long the
// reader of the reply thinks about a piece. Comments start the wait again before the first piece; later they only
// keep the connection open.
type watch struct {
	limits Timeouts
	timer  *time.Timer
	next   time.Duration // the wait that begins with the next read; 0: one is under way
	cancel context.CancelCauseFunc
	total  context.CancelFunc
}

// newWatch begins the wait for the first piece.
func newWatch(ctx context.Context, limits Timeouts) (context.Context, *watch) {
	w := &watch{limits: limits}
	ctx, w.total = context.WithTimeoutCause(ctx, limits.Total, errTotal)
	ctx, w.cancel = context.WithCancelCause(ctx)
	cancel := w.cancel
	w.timer = time.AfterFunc(limits.FirstToken, func() { cancel(errSilent) })
	return ctx, w
}

// rest ends the wait. The next one begins when the server is read from, and lasts for d.
func (w *watch) rest(d time.Duration) {
	if w.next == 0 {
		w.timer.Stop()
	}
	w.next = d
}

func (w *watch) stop() {
	w.timer.Stop()
	w.cancel(nil)
	w.total()
}

// watched reads from a server, under watch.
type watched struct {
	*watch
	body io.Reader
}

func (w watched) Read(p []byte) (int, error) {
	if w.next > 0 {
		w.timer.Reset(w.next)
		w.next = 0
	}
	return w.body.Read(p)
}
