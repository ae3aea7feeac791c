package esnode

import (
	"bytes"
	"regexp"
	"time"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/dlclark/regexp2"
)

// filter chooses events by the name of their stream or their type. A nil filter lets all pass.
type filter struct {
	byType   bool
	prefixes [][]byte
	match    func([]byte) (bool, error)
	verdicts *cache[int64, bool]  // by stream
	kinds    *cache[string, bool] // by type
	window   uint32               // events to consider at once
	interval int                  // events to consider between a subscription's checkpoints
}

// keptVerdicts is how many streams, or types, a filter remembers.
const keptVerdicts = 10_000

// matchTimeout bounds a pattern that backtracks.
const matchTimeout = 100 * time.Millisecond

func newFilter(o *api.ReadReq_Options_FilterOptions) (*filter, error) {
	f := &filter{
		verdicts: newCache[int64, bool](keptVerdicts), kinds: newCache[string, bool](keptVerdicts),
	}
	var by *api.ReadReq_Options_FilterOptions_Expression
	switch of := o.GetFilter().(type) {
	case *api.ReadReq_Options_FilterOptions_StreamIdentifier:
		by = of.StreamIdentifier
	case *api.ReadReq_Options_FilterOptions_EventType:
		by, f.byType = of.EventType, true
	default:
		return nil, &invalid{text: "a filter needs a stream or an event type"}
	}
	switch w := o.GetWindow().(type) {
	case *api.ReadReq_Options_FilterOptions_Max:
		f.window = w.Max
	case *api.ReadReq_Options_FilterOptions_Count:
		f.window = 32
	default:
		return nil, &invalid{text: "a filter needs a window"}
	}
	f.interval = int(min(uint64(f.window)*uint64(o.GetCheckpointIntervalMultiplier()), 1<<30))
	// With both the pattern counts; with neither nothing passes.
	if by.GetRegex() != "" {
		var err error
		f.match, err = compile(by.GetRegex())
		return f, err
	}
	for _, p := range by.GetPrefix() {
		f.prefixes = append(f.prefixes, []byte(p))
	}
	return f, nil
}

// compile prefers the engine that cannot backtrack; the protocol's patterns are those of .NET.
func compile(pattern string) (func([]byte) (bool, error), error) {
	if re, err := regexp.Compile(pattern); err == nil {
		return func(b []byte) (bool, error) { return re.Match(b), nil }, nil
	}
	re, err := regexp2.Compile(pattern, regexp2.None)
	if err != nil {
		return nil, &invalid{text: "the filter is no regular expression", unhandled: true}
	}
	re.MatchTimeout = matchTimeout
	return func(b []byte) (bool, error) {
		ok, err := re.MatchString(string(b))
		if err != nil {
			return false, &invalid{text: "the filter's regular expression takes too long"}
		}
		return ok, nil
	}, nil
}

func (f *filter) passes(r *record) (bool, error) {
	if f == nil {
		return true, nil
	}
	if f.byType {
		parts, err := decode(r.frame)
		if err != nil {
			return false, err
		}
		return verdict(f, f.kinds, string(parts.kind), parts.kind)
	}
	if f.match == nil {
		return f.matches(streamOf(r.frame))
	}
	return verdict(f, f.verdicts, r.stream, streamOf(r.frame))
}

// verdict remembers what a pattern says of a name: it may take longer than all else.
func verdict[K comparable](f *filter, known *cache[K, bool], key K, name []byte) (bool, error) {
	ok, found := known.get(key)
	if found {
		return ok, nil
	}
	ok, err := f.matches(name)
	if err == nil {
		known.put(key, ok)
	}
	return ok, err
}

func (f *filter) matches(name []byte) (bool, error) {
	if f.match != nil {
		return f.match(name)
	}
	for _, p := range f.prefixes {
		if bytes.HasPrefix(name, p) {
			return true, nil
		}
	}
	return false, nil
}
