package api

import (
	"sync"
	"testing"

	"prelude/domain"
	"prelude/internal/eventlog"
)

// TestReached: of a caller's commands that end at once the latest position is remembered, in whatever order
// their answers are written.
func TestReached(t *testing.T) {
	t.Parallel()
	s := &Server{}
	s.Handler()
	who := domain.Principal{User: "usr_1"}
	var all sync.WaitGroup
	for i := range 1000 {
		all.Go(func() { s.noted(who, eventlog.Position(1+(i*7919)%1000)) })
	}
	all.Wait()
	s.noted(who, 3)
	if got := s.lastOf(who); got != 1000 {
		t.Errorf("the latest is %d, want 1000", got)
	}
}
