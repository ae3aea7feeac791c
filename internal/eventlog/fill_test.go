package eventlog_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"pgregory.net/rapid"

	"prelude/domain"
	"prelude/internal/eventlog"
)

var (
	secretType = reflect.TypeFor[domain.Secret]()
	rawType    = reflect.TypeFor[json.RawMessage]()
	timeType   = reflect.TypeFor[time.Time]()
)

// filler fills a value of any event's type.
type filler struct {
	text   func(path string) string
	secret func(path string) domain.Secret
	number func(path string) int64
	length func(path string) int  // of slices and maps
	there  func(path string) bool // of pointers
}

func (f filler) event(t reflect.Type) any {
	v := reflect.New(t).Elem()
	f.fill(v, "")
	return v.Interface()
}

func (f filler) fill(v reflect.Value, path string) {
	switch v.Type() {
	case secretType:
		v.Set(reflect.ValueOf(f.secret(path)))
		return
	case rawType:
		v.SetBytes([]byte(fmt.Sprintf(`{"n":%d}`, f.number(path))))
		return
	case timeType:
		v.Set(reflect.ValueOf(noon.Add(time.Duration(f.number(path)) * time.Millisecond)))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			f.fill(v.Field(i), strings.TrimPrefix(path+"."+v.Type().Field(i).Name, "."))
		}
	case reflect.Pointer:
		if f.there(path) {
			v.Set(reflect.New(v.Type().Elem()))
			f.fill(v.Elem(), path)
		}
	case reflect.Slice:
		f.fillSlice(v, path)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for i := range f.length(path) {
			e := reflect.New(v.Type().Elem()).Elem()
			f.fill(e, path)
			v.SetMapIndex(reflect.ValueOf(fmt.Sprintf("k%d", i)), e)
		}
		if v.Len() == 0 {
			v.SetZero()
		}
	case reflect.String:
		v.SetString(f.text(path))
	case reflect.Int, reflect.Int64:
		v.SetInt(f.number(path))
	case reflect.Float64:
		v.SetFloat(float64(f.number(path)) / 4)
	case reflect.Bool:
		v.SetBool(f.number(path)%2 == 1)
	default:
		panic("events hold a " + v.Kind().String())
	}
}

func (f filler) fillSlice(v reflect.Value, path string) {
	n := f.length(path)
	if n == 0 {
		return // as JSON reads it back: nil
	}
	if v.Type().Elem().Kind() == reflect.Uint8 {
		v.SetBytes([]byte(f.text(path)))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), n, n))
	for i := range n {
		f.fill(v.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
}

// random fills with what rapid draws. Secrets hold the marker; nothing else does.
func random(t *rapid.T) filler {
	keys := rapid.SampledFrom([]domain.KeyID{"o.1", "u.1.2", "s.1.3", "a.1.3.2", "d.1.2.2026-03-01"})
	return filler{
		text: func(path string) string {
			return rapid.StringMatching(`[a-zé<&" ]{1,6}`).Draw(t, path)
		},
		secret: func(path string) domain.Secret {
			if rapid.IntRange(0, 4).Draw(t, path+" there") == 0 {
				return domain.Secret{}
			}
			return domain.Seal(keys.Draw(t, path+" key"), marker+rapid.String().Draw(t, path))
		},
		number: func(path string) int64 { return rapid.Int64Range(0, 1<<40).Draw(t, path) },
		length: func(path string) int { return rapid.IntRange(0, 2).Draw(t, path+" length") },
		there:  func(path string) bool { return rapid.Bool().Draw(t, path+" there") },
	}
}

const marker = "Zx9Qk-marker-"

// fixed fills every field, each with a value of its own.
func fixed() filler {
	n := int64(0)
	next := func(string) int64 { n++; return n }
	return filler{
		text:   func(path string) string { return strings.ToLower(fmt.Sprintf("%s %d", path, next(path))) },
		secret: func(path string) domain.Secret { return domain.Seal("o.1", "the text of "+path) },
		number: func(path string) int64 { return next(path)*2 + 1 },
		length: func(string) int { return 2 },
		there:  func(string) bool { return true },
	}
}

// typeOf is the Go type of a registered name, found by decoding.
func typeOf(t fataler, name string) reflect.Type {
	t.Helper()
	rec, err := eventlog.Decode(eventlog.Raw{Stream: stream.String(), Type: name, Data: []byte("{}"),
		Meta: encodedMeta})
	if err != nil || rec.Event == nil {
		t.Fatalf("%s is not registered: %v", name, err)
	}
	return reflect.TypeOf(rec.Event)
}

var encodedMeta = []byte(`{"at":"0","step":"00000000-0000-4000-8000-000000000002",` +
	`"$causationId":"00000000-0000-4000-8000-000000000001"}`)
