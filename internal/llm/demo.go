package llm

import (
	"context"
	"iter"
	"math"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"prelude/commands"
	"prelude/domain/receipt"
)

const (
	bytesPerToken = 3.5 // the estimate that stands in for a tokenizer
	quotedWords   = 8   // of the last user message
	quotedBytes   = 200 // of a preset's name, and of a word
)

// filler is what a reply goes on with when it is to have more pieces than words.
var filler = []string{" And", " so", " it", " goes", " on,", " word", " by", " word."}

// demo is one reply of the demo model: the same request gives the same reply, with no server and no
// key.
type demo struct {
	directives
	limits Timeouts
	words  []string // each with the space between it and the next
	room   int      // bytes that the reply may have
	input  int      // tokens

	timer *time.Timer // the only one, and only where there is a delay
	sent  int         // bytes
}

func streamDemo(
	ctx context.Context, limits Timeouts, req commands.ModelRequest,
) iter.Seq2[commands.Chunk, error] {
	return func(yield func(commands.Chunk, error) bool) {
		d := newDemo(limits, req)
		within, cancel := context.WithTimeoutCause(ctx, limits.Total, errTotal)
		defer cancel()
		defer d.stop()
		if err := d.run(within, yield); err != nil {
			yield(commands.Chunk{}, err)
		}
	}
}

func newDemo(limits Timeouts, req commands.ModelRequest) *demo {
	steps, words := direct(lastUser(req.Messages))
	d := &demo{directives: steps, limits: limits, room: math.MaxInt}
	d.words = demoWords(words, req.Preset)
	if d.chunks == 0 {
		d.chunks = len(d.words)
	}
	if most := req.Settings.MaxOutputTokens; most > 0 {
		d.room = int(float64(min(most, 1<<40)) * bytesPerToken)
	}
	size := 0
	for _, m := range req.Messages {
		size += len(m.Content)
	}
	d.input = tokens(size)
	return d
}

// run gives the reply to yield and returns what ends it early. Nil also stands for a reader that
// has had enough.
func (d *demo) run(ctx context.Context, yield func(commands.Chunk, error) bool) error {
	finish := "stop"
	for i := 0; ; i++ {
		if err := d.await(ctx, i); err != nil {
			return err
		}
		if i == d.chunks {
			break
		}
		text := d.piece(i)
		fits := clip(text, d.room-d.sent)
		d.sent += len(fits)
		if fits != "" && !yield(commands.Chunk{Text: fits}, nil) {
			return nil
		}
		if fits != text {
			finish = "length"
			break
		}
	}
	used := &receipt.Usage{InputTokens: d.input, OutputTokens: tokens(d.sent)}
	yield(commands.Chunk{Finish: finish, Usage: used}, nil)
	return nil
}

// await waits as long as piece i takes, or fails as it was told to.
func (d *demo) await(ctx context.Context, i int) error {
	delay, started := d.delay, d.sent > 0
	switch {
	case d.fail == "hang" && i == min(d.after, d.chunks):
		delay = math.MaxInt64
	case d.fail != "" && i == min(d.after, d.chunks):
		return d.failure(started)
	case i == d.chunks:
		delay = 0 // nothing is left to say
	}
	limit := d.limits.FirstToken
	if started {
		limit = d.limits.BetweenTokens
	}
	if err := d.sleep(ctx, min(delay, limit)); err != nil {
		return verdict(ctx, err, started, d.limits)
	}
	if delay > limit {
		return silent(started, d.limits)
	}
	return nil
}

func (d *demo) failure(started bool) error {
	switch d.fail {
	case "429":
		return rateLimited(time.Second, started)
	case "500":
		return refused(http.StatusInternalServerError, nil, refusal{}, started, time.Time{})
	case "cut":
		return cut(started)
	}
	return garbage()
}

func (d *demo) sleep(ctx context.Context, delay time.Duration) error {
	if delay <= 0 || ctx.Err() != nil {
		return ctx.Err()
	}
	if d.timer == nil {
		d.timer = time.NewTimer(delay)
	} else {
		d.timer.Reset(delay)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-d.timer.C:
		return nil
	}
}

func (d *demo) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
}

// piece returns the i-th of the pieces: the words, spread evenly, and filler after them.
func (d *demo) piece(i int) string {
	n := len(d.words)
	if d.chunks <= n {
		return strings.Join(d.words[i*n/d.chunks:(i+1)*n/d.chunks], "")
	}
	if i < n {
		return d.words[i]
	}
	return filler[(i-n)%len(filler)]
}

// demoWords returns what the demo says about a message and a preset, in at least 20 words.
func demoWords(message []string, preset string) []string {
	said := "Your message had no words."
	if len(message) > 0 {
		last := message[max(0, len(message)-quotedWords):]
		for i, word := range last {
			last[i] = clip(word, quotedBytes)
		}
		said = "Your message ended with: “" + strings.Join(last, " ") + "”."
	}
	under := "No preset was used."
	if preset != "" {
		under = "The preset was “" + clip(preset, quotedBytes) + "”."
	}
	text := "This is a demo: no language model is connected, so these words were put together " +
		"by rule and mean nothing. " + said + " " + under
	return strings.SplitAfter(strings.ToValidUTF8(text, "\uFFFD"), " ")
}

func lastUser(messages []receipt.Message) string {
	for i := len(messages) - 1; i >= 0; i-- {
		if messages[i].Role == "user" {
			return messages[i].Content
		}
	}
	return ""
}

// clip cuts s to at most n bytes, between characters.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:max(n, 0)]
}

func tokens(bytes int) int { return int(math.Ceil(float64(bytes) / bytesPerToken)) }
