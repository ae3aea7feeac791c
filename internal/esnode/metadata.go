package esnode

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	metadataType  = "$metadata"
	tombstoneType = "$streamDeleted"
	linkType      = "$>"
	metaPrefix    = "$$"

	// deletedBefore as $tb says that the stream is deleted softly; as a revision it is the
	// tombstone's.
	deletedBefore = math.MaxInt64
)

// limits are a stream's limits; 0 is none.
type limits struct {
	maxCount int64
	maxAge   time.Duration
	before   int64
}

// metaOfMeta are the limits of a metastream: only its last event counts.
var metaOfMeta = limits{maxCount: 1}

func isMeta(stream string) bool { return strings.HasPrefix(stream, metaPrefix) }

// parseMetadata reads a metadata event. Any malformed field makes the whole of it void.
func parseMetadata(data []byte) limits {
	m, err := readMetadata(data)
	if err != nil {
		return limits{}
	}
	return m
}

func readMetadata(data []byte) (m limits, err error) {
	fields, err := fieldsOf(data)
	if err != nil {
		return limits{}, err
	}
	var seconds, ignored int64
	for _, f := range fields {
		value := f.value
		switch f.key {
		case "$maxCount":
			m.maxCount, err = positive(value)
		case "$maxAge":
			seconds, err = positive(value)
		case "$tb":
			m.before, err = positive(value)
		case "$cacheControl":
			ignored, err = positive(value)
		case "$tmp":
			var b *bool
			if err = json.Unmarshal(value, &b); b == nil {
				err = errMetadata
			}
		case "$acl":
			err = checkACL(value)
		}
		if err != nil {
			return limits{}, err
		}
	}
	_ = ignored
	m.maxAge = time.Duration(min(seconds, math.MaxInt64/int64(time.Second))) * time.Second
	return m, nil
}

// Raised gives a stream's metadata, such that they hide at least what is before a revision. Void ones,
// which hide nothing, it does without; of others it leaves what it can.
func Raised(data []byte, before int64) []byte {
	m, err := readMetadata(data)
	switch {
	case err != nil:
		return undeleted(nil, before)
	case m.before >= before:
		return data
	}
	return undeleted(data, before)
}

var errMetadata = errors.New("malformed metadata")

// positive reads a whole number; those below 1 count as not set.
func positive(value json.RawMessage) (int64, error) {
	var n *int64
	if err := json.Unmarshal(value, &n); err != nil || n == nil {
		return 0, errMetadata
	}
	return max(*n, 0), nil
}

// checkACL refuses what no access list looks like. The node ignores what it says.
func checkACL(value json.RawMessage) error {
	var acl map[string]json.RawMessage
	if err := json.Unmarshal(value, &acl); err != nil || acl == nil {
		return errMetadata
	}
	for _, role := range []string{"$r", "$w", "$d", "$mr", "$mw"} {
		v, ok := acl[role]
		if !ok {
			continue
		}
		var one *string
		var many []string
		if (json.Unmarshal(v, &one) != nil || one == nil) &&
			(json.Unmarshal(v, &many) != nil || many == nil) {
			return errMetadata
		}
	}
	return nil
}

// field is a field of a metadata event.
type field struct {
	key   string
	value json.RawMessage
}

// fieldsOf gives the fields of an object in their order, of those with one name the last in the first's
// stead. What follows the object does not matter: a real store stops reading there.
func fieldsOf(data []byte) (all []field, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errMetadata
	}
	at := map[string]int{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		f := field{}
		f.key, _ = t.(string) // the decoder takes no other keys
		if err := d.Decode(&f.value); err != nil {
			return nil, err
		}
		if i, twice := at[f.key]; twice {
			all[i] = f
			continue
		}
		at[f.key] = len(all)
		all = append(all, f)
	}
	_, err = d.Token()
	return all, err
}

// undeleted gives metadata as it was but for $tb.
func undeleted(data []byte, before int64) []byte {
	all, err := fieldsOf(data)
	if err != nil {
		all = nil
	}
	bound := field{"$tb", json.RawMessage(strconv.FormatInt(before, 10))}
	at := slices.IndexFunc(all, func(f field) bool { return f.key == bound.key })
	if at < 0 {
		all = append(all, bound)
	} else {
		all[at] = bound
	}
	b := []byte{'{'}
	for i, f := range all {
		if i > 0 {
			b = append(b, ',')
		}
		key, err := json.Marshal(f.key)
		if err != nil {
			return fmt.Appendf(nil, `{"$tb":%d}`, before)
		}
		b = append(append(append(b, key...), ':'), f.value...)
	}
	return append(b, '}')
}
