package search

import (
	"testing"
	"time"
)

func TestBreaker(t *testing.T) {
	t.Parallel()
	now := noon
	pass := func(d time.Duration) { now = now.Add(d) }
	broken := func() *breaker {
		b := &breaker{now: func() time.Time { return now }}
		for range breakAfter {
			if !b.allow() {
				t.Fatal("it opened too early")
			}
			b.failure()
		}
		return b
	}
	t.Run("opens after five failures in ten seconds", func(t *testing.T) {
		if broken().allow() {
			t.Error("it is closed")
		}
	})
	t.Run("stays closed if they are further apart", func(t *testing.T) {
		b := &breaker{now: func() time.Time { return now }}
		for range 3 * breakAfter {
			b.failure()
			pass(3 * time.Second)
		}
		if !b.allow() {
			t.Error("it is open")
		}
	})
	t.Run("lets one through after five seconds", func(t *testing.T) {
		b := broken()
		pass(breakFor)
		if !b.allow() || b.allow() {
			t.Error("it lets none or two through")
		}
	})
	t.Run("closes when that one succeeds", func(t *testing.T) {
		b := broken()
		pass(breakFor)
		b.allow()
		b.success()
		for range 2 {
			if !b.allow() {
				t.Error("it is open")
			}
		}
	})
	t.Run("stays open when that one fails", func(t *testing.T) {
		b := broken()
		pass(breakFor)
		b.allow()
		b.failure()
		pass(breakFor - 1)
		if b.allow() {
			t.Error("it is closed")
		}
	})
	t.Run("does not wait for ever for one that is never reported", func(t *testing.T) {
		b := broken()
		pass(breakFor)
		b.allow()
		pass(breakFor)
		if !b.allow() {
			t.Error("it is open for good")
		}
	})
}
