// Package esnodetest has the node behave in tests as a real store does, where that is harder to bear.
package esnodetest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"prelude/internal/esnode"
)

// The variables that say how nodes of tests behave.
const (
	// form is real: all moods, and the notices of 24.6, which say the least; 25: all moods, and the notices of 25; or
	// plain: as the product runs its node. Empty: real.
	form = "PRELUDE_TEST_NODE"
	// seed is of the moods; empty: another each time, which a test that fails tells.
	seed = "PRELUDE_TEST_SEED"
)

// Config is c for a test's node.
func Config(t testing.TB, c esnode.Config) esnode.Config {
	t.Helper()
	n := Seed()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the node's moods had %s=%d", seed, n)
		}
	})
	return Shape(c, n)
}

// Seed is that of the environment, or another each time.
func Seed() uint64 {
	if n, err := strconv.ParseUint(os.Getenv(seed), 10, 64); err == nil {
		return n
	}
	return rand.Uint64()
}

// Shape is c with the moods that the environment asks for.
func Shape(c esnode.Config, n uint64) esnode.Config {
	switch os.Getenv(form) {
	case "plain":
		return c
	case "25":
		c.Notices = 25
	case "", "real":
		c.Notices = 24
	default:
		panic(fmt.Sprintf("%s must be real, 25 or plain", form))
	}
	c.Moods = esnode.RealMoods(n)
	return c
}
