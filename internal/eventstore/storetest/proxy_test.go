package storetest_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"testing"
	"time"

	"prelude/internal/eventstore/storetest"
)

// echo is a store that says what it hears, and tells the test too.
func echo(t *testing.T) (p *storetest.Proxy, heard <-chan string) {
	t.Helper()
	dir := storetest.Folder(t)
	l, err := net.Listen("unix", filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	words := make(chan string, 100)
	go func() {
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			go func() {
				b := make([]byte, 100)
				for n, err := c.Read(b); err == nil; n, err = c.Read(b) {
					words <- string(b[:n])
					_, _ = c.Write(b[:n]) // who asked may have gone
				}
				_ = c.Close()
			}()
		}
	}()
	return storetest.NewProxy(t, filepath.Join(dir, "way"), l.Addr().String()), words
}

func dial(t *testing.T, p *storetest.Proxy) net.Conn {
	t.Helper()
	var d net.Dialer
	c, err := d.DialContext(context.Background(), "unix", p.Path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func say(t *testing.T, c net.Conn, word string) {
	t.Helper()
	if _, err := c.Write([]byte(word)); err != nil {
		t.Fatal(err)
	}
}

// answer is what comes within a time, "" if nothing does.
func answer(t *testing.T, c net.Conn, within time.Duration) string {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	n, _ := c.Read(b) // an error is an answer that does not come
	return string(b[:n])
}

const nothing, something = 50 * time.Millisecond, 10 * time.Second

// A silence is one for those who come meanwhile too; what was said in it is heard when it ends.
func TestHold(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		silence storetest.Silence
		heard   bool // by the store, meanwhile
	}{
		"answers":  {storetest.Answers, true},
		"all ways": {storetest.Both, false},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			p, heard := echo(t)
			before := dial(t, p)
			say(t, before, "hello")
			if got := answer(t, before, something); got != "hello" || <-heard != "hello" {
				t.Fatalf("it answers %q", got)
			}
			p.Hold(c.silence)
			after := dial(t, p)
			say(t, before, "a")
			say(t, after, "b")
			if got := answer(t, before, nothing) + answer(t, after, nothing); got != "" {
				t.Errorf("in the silence it says %q", got)
			}
			if got := len(heard); (got == 2) != c.heard || (got == 0) == c.heard {
				t.Errorf("in the silence %d were heard", got)
			}
			gone := dial(t, p)
			say(t, gone, "c")
			_ = gone.Close()
			p.Release()
			if a, b := answer(t, before, something), answer(t, after, something); a != "a" || b != "b" {
				t.Errorf("after it come %q and %q", a, b)
			}
			words := map[string]bool{<-heard: true, <-heard: true, <-heard: true}
			if !words["a"] || !words["b"] || !words["c"] {
				t.Errorf("the store heard %v", words)
			}
		})
	}
}

// Connections that are forgotten stay silent; others are not concerned.
func TestLose(t *testing.T) {
	t.Parallel()
	p, heard := echo(t)
	c := dial(t, p)
	say(t, c, "a")
	if got := answer(t, c, something); got != "a" || <-heard != "a" {
		t.Fatalf("it answers %q", got)
	}
	p.Lose()
	say(t, c, "b")
	if got := <-heard; got != "b" {
		t.Errorf("the store heard %q", got)
	}
	if got := answer(t, c, nothing); got != "" {
		t.Errorf("it answers %q", got)
	}
	other := dial(t, p)
	say(t, other, "c")
	if got := answer(t, other, something); got != "c" {
		t.Errorf("another is answered with %q", got)
	}
}

// talk asks and is answered over and over, on a new connection after each that fails.
func talk(p *storetest.Proxy, heard <-chan string, stop <-chan struct{}) {
	word := make([]byte, 100)
	var c net.Conn
	for {
		select {
		case <-stop:
			return
		case <-heard: // the store must not wait for its listener
		case <-time.After(time.Millisecond):
		}
		err := net.ErrClosed
		if c != nil {
			_ = c.SetDeadline(time.Now().Add(100 * time.Millisecond))
			if _, err = c.Write(word); err == nil {
				_, err = c.Read(word)
			}
		}
		if err != nil {
			if c != nil {
				_ = c.Close()
			}
			c, _ = net.DialTimeout("unix", p.Path, time.Second) // there may be no way
		}
	}
}

// Every kind of trouble comes, and is counted.
func TestTrouble(t *testing.T) {
	t.Parallel()
	p, heard := echo(t)
	stop, kills := make(chan struct{}), 0
	made := make(chan storetest.Faults, 1)
	go func() {
		made <- storetest.Trouble(p, rand.New(rand.NewPCG(1, 2)), func() error {
			if kills++; kills == 2 {
				close(stop)
			}
			return nil
		}, stop)
	}()
	talked := make(chan struct{})
	go func() {
		defer close(talked)
		talk(p, heard, stop)
	}()
	faults := <-made
	<-talked
	if len(faults) != 9 || faults["kills"] != 2 {
		t.Errorf("made were %v", faults)
	}
	c := dial(t, p)
	say(t, c, "after")
	if got, err := io.ReadAll(io.LimitReader(c, 5)); err != nil || string(got) != "after" {
		t.Errorf("after it the way says %q, %v", got, err)
	}
	two := storetest.Faults{"cuts": 2, "answers cut": 1}
	if got := two.String(); got != "3 faults: 1 answers cut, 2 cuts" {
		t.Error(got)
	}
}

// That the store ends a connection is heard when the silence ends, and over one that was forgotten never.
func TestSilence_holds_back_the_end(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		silence func(*storetest.Proxy)
		after   bool // it is heard once the silence is over
	}{
		"all ways":  {func(p *storetest.Proxy) { p.Hold(storetest.Both) }, true},
		"answers":   {func(p *storetest.Proxy) { p.Hold(storetest.Answers) }, true},
		"forgotten": {func(p *storetest.Proxy) { p.Lose() }, false},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir := storetest.Folder(t)
			l, err := net.Listen("unix", filepath.Join(dir, "store"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			p := storetest.NewProxy(t, filepath.Join(dir, "way"), l.Addr().String())
			c1 := dial(t, p)
			server, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			say(t, c1, "hello")
			if got := answer(t, server, something); got != "hello" {
				t.Fatalf("the store hears %q", got)
			}
			c.silence(p)
			_ = server.Close()
			say(t, c1, "is anybody there") // that nobody is is not heard either
			if ended(t, c1, nothing) {
				t.Error("the end is heard")
			}
			p.Release()
			if c.after != ended(t, c1, map[bool]time.Duration{true: something, false: nothing}[c.after]) {
				t.Errorf("after the silence, that the end is heard is %v", !c.after)
			}
		})
	}
}

// ended says whether a connection ends within a time.
func ended(t *testing.T, c net.Conn, within time.Duration) bool {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	_, err := c.Read(make([]byte, 1))
	var late net.Error
	return err != nil && (!errors.As(err, &late) || !late.Timeout())
}
