package llm

import (
	"strconv"
	"strings"
	"time"
)

const (
	maxChunks = 10_000
	maxDelay  = 10 * time.Second
)

// directives steer the demo. They are words of the last user message:
//
//	demo:chunks=200 demo:delay=20ms demo:fail=429|500|cut|garbage|hang demo:after=3
type directives struct {
	chunks int           // pieces of text; 0: as the text has words
	delay  time.Duration // before each piece
	fail   string        // how to fail; empty: not at all
	after  int           // pieces before the failure
}

// direct takes the directives out of a message and returns the words that are left. What it does
// not understand stays a word; what is absurd is clamped.
func direct(message string) (directives, []string) {
	var d directives
	words := strings.Fields(message)
	rest := words[:0]
	for _, word := range words {
		if !d.take(word) {
			rest = append(rest, word)
		}
	}
	return d, rest
}

func (d *directives) take(word string) bool {
	directive, ok := strings.CutPrefix(word, "demo:")
	if !ok {
		return false
	}
	name, value, _ := strings.Cut(directive, "=")
	switch name {
	case "chunks":
		return number(value, 1, &d.chunks)
	case "after":
		return number(value, 0, &d.after)
	case "delay":
		delay, err := time.ParseDuration(value)
		d.delay = min(max(delay, 0), maxDelay)
		return err == nil
	case "fail":
		switch value {
		case "429", "500", "cut", "garbage", "hang":
			d.fail = value
			return true
		}
	}
	return false
}

// number reads value into n, between least and maxChunks. A number too large to read is too large.
func number(value string, least int, n *int) bool {
	i, err := strconv.Atoi(value)
	if err != nil && i == 0 {
		return false
	}
	*n = min(max(i, least), maxChunks)
	return true
}
