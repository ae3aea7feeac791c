package eventlog

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"prelude/domain"
)

// Keys is the port to the vault.
type Keys interface {
	// Ensure makes the keys that do not exist. Error: a refusal "erased" for one that was destroyed.
	Ensure(ctx context.Context, ids ...domain.KeyID) error
	// Find gives the keys that exist; those that do not, or were destroyed, are absent.
	Find(ctx context.Context, ids ...domain.KeyID) (map[domain.KeyID]*Key, error)
}

// ErrSealed: a text cannot be opened with its key: it was changed, or moved to another place.
var ErrSealed = errors.New("a sealed text does not open")

// Open opens the secrets of records in place, with one question to the vault. A secret whose key is
// gone is marked so; without Keys all stay sealed. Keys whose id has one of the prefixes only, if
// any are given, are asked for.
func (l *Log) Open(ctx context.Context, records []Record, prefixes ...string) error {
	ids := map[domain.KeyID]bool{}
	for i := range records {
		visit(records[i].Event, func(_ string, s *domain.Secret) {
			if wanted(s, prefixes) {
				ids[s.Key] = true
			}
		})
	}
	if len(ids) == 0 || l.Keys == nil {
		return nil
	}
	keys, err := l.find(ctx, ids)
	if err != nil {
		return err
	}
	for i := range records {
		if err := openRecord(&records[i], keys, prefixes); err != nil {
			return err
		}
	}
	return nil
}

// Shut gives a copy of a stored event without its open texts: what of them is sealed stays.
func Shut(event any) any {
	return rewrite(event, func(_ string, s *domain.Secret) {
		if s.Sealed != nil {
			s.Text = ""
		}
	})
}

func wanted(s *domain.Secret, prefixes []string) bool {
	if s.Sealed == nil {
		return false
	}
	for _, p := range prefixes {
		if strings.HasPrefix(string(s.Key), p) {
			return true
		}
	}
	return len(prefixes) == 0
}

func openRecord(r *Record, keys map[domain.KeyID]*Key, prefixes []string) error {
	var failed error
	r.Event = rewrite(r.Event, func(field string, s *domain.Secret) {
		if !wanted(s, prefixes) {
			return
		}
		key := keys[s.Key]
		if key == nil {
			s.Gone, s.Text = true, ""
			return
		}
		text, err := key.Open(s.Sealed, aad(r.Stream, field, s.Key))
		if err != nil {
			failed = fmt.Errorf("%w: %s of %s: %w", ErrSealed, field, r.Name, err)
			return
		}
		s.Text = string(text)
	})
	return failed
}

// OpenSecret opens one secret that was read from field of an event in stream. Gone: its key is
// destroyed.
func (l *Log) OpenSecret(ctx context.Context, stream Stream, field string, s domain.Secret,
) (domain.Secret, error) {
	opened := []Sealed{{stream, field, s}}
	err := l.OpenAll(ctx, opened)
	return opened[0].Secret, err
}

// Sealed is a secret that is kept apart from its event, with what it was sealed to.
type Sealed struct {
	Stream Stream
	Field  string
	Secret domain.Secret
}

// OpenAll opens secrets in place, with one question to the vault; without Keys they stay sealed.
func (l *Log) OpenAll(ctx context.Context, all []Sealed) error {
	if l.Keys == nil {
		return nil
	}
	ids := map[domain.KeyID]bool{}
	for _, s := range all {
		if s.Secret.Sealed != nil {
			ids[s.Secret.Key] = true
		}
	}
	keys, err := l.find(ctx, ids)
	if err != nil {
		return err
	}
	for i := range all {
		s := &all[i].Secret
		if s.Sealed == nil {
			continue
		}
		if keys[s.Key] == nil {
			s.Gone, s.Text = true, "" // who appended it may hold it open still
			continue
		}
		text, err := keys[s.Key].Open(s.Sealed, aad(all[i].Stream, all[i].Field, s.Key))
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrSealed, all[i].Field, err)
		}
		s.Text = string(text)
	}
	return nil
}

func (l *Log) find(ctx context.Context, ids map[domain.KeyID]bool) (map[domain.KeyID]*Key, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	list := make([]domain.KeyID, 0, len(ids))
	for id := range ids {
		list = append(list, id)
	}
	keys, err := l.Keys.Find(ctx, list...)
	if err != nil {
		return nil, fmt.Errorf("keys of the vault: %w", err)
	}
	return keys, nil
}

func (l *Log) keysOf(ctx context.Context, events []any) (map[domain.KeyID]*Key, error) {
	ids := KeysOf(events)
	if len(ids) == 0 {
		return nil, nil
	}
	if l.Keys == nil {
		return nil, errNoKeys
	}
	keys, err := l.Keys.Find(ctx, ids...)
	if err != nil {
		return nil, fmt.Errorf("keys of the vault: %w", err)
	}
	return keys, nil
}

// SealedUnder lists the keys that the secrets of a record are sealed under.
func (r Record) SealedUnder() []domain.KeyID {
	var ids []domain.KeyID
	visit(r.Event, func(_ string, s *domain.Secret) {
		if s.Sealed != nil && !slices.Contains(ids, s.Key) {
			ids = append(ids, s.Key)
		}
	})
	return ids
}

// KeysOf lists the keys that the open secrets of events are to be sealed under.
func KeysOf(events []any) []domain.KeyID {
	var ids []domain.KeyID
	for _, e := range events {
		visit(e, func(_ string, s *domain.Secret) {
			if s.Key != "" && s.Sealed == nil && !slices.Contains(ids, s.Key) {
				ids = append(ids, s.Key)
			}
		})
	}
	return ids
}

// seal returns a copy of an event with its open secrets sealed to the stream and the field they are
// in.
func seal(e any, s Stream, keys map[domain.KeyID]*Key) (any, error) {
	var failed error
	sealed := rewrite(e, func(field string, secret *domain.Secret) {
		if secret.Key == "" || secret.Sealed != nil {
			return
		}
		key := keys[secret.Key]
		if key == nil {
			failed = domain.ErrErased
			return
		}
		secret.Sealed = key.Seal([]byte(secret.Text), aad(s, field, secret.Key))
	})
	return sealed, failed
}

func aad(s Stream, field string, key domain.KeyID) []byte {
	return []byte(s.String() + "|" + field + "|" + string(key))
}

var secretType = reflect.TypeFor[domain.Secret]()

// rewrite calls change for each secret of a copy of e, and returns the copy.
func rewrite(e any, change func(field string, s *domain.Secret)) any {
	if e == nil || !holdsSecrets(reflect.TypeOf(e)) {
		return e
	}
	v := reflect.New(reflect.TypeOf(e)).Elem()
	v.Set(reflect.ValueOf(e))
	walk(v, "", change)
	return v.Interface()
}

// visit calls see for each secret of e; see must not change it.
func visit(e any, see func(field string, s *domain.Secret)) { rewrite(e, see) }

func walk(v reflect.Value, path string, do func(string, *domain.Secret)) {
	t := v.Type()
	switch {
	case t == secretType:
		s := v.Addr().Interface().(*domain.Secret) //nolint:forcetypeassert // it is that type
		do(path, s)
	case t.Kind() == reflect.Struct && holdsSecrets(t):
		for i := range t.NumField() {
			f := t.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if path != "" {
				name = path + "." + name
			}
			walk(v.Field(i), name, do)
		}
	case t.Kind() == reflect.Slice && holdsSecrets(t.Elem()) && v.Len() > 0:
		// The elements are copied: the caller's event is not to change.
		c := reflect.MakeSlice(t, v.Len(), v.Len())
		reflect.Copy(c, v)
		v.Set(c)
		for i := range v.Len() {
			walk(v.Index(i), fmt.Sprintf("%s[%d]", path, i), do)
		}
	}
}

// holdsSecrets says whether values of t can hold secrets; only structs and slices of them can.
func holdsSecrets(t reflect.Type) bool {
	if known, ok := secretive.Load(t); ok {
		return known.(bool) //nolint:forcetypeassert // only bools are stored
	}
	holds := t == secretType
	switch t.Kind() {
	case reflect.Struct:
		for i := 0; i < t.NumField() && !holds; i++ {
			holds = t.Field(i).IsExported() && holdsSecrets(t.Field(i).Type)
		}
	case reflect.Slice:
		holds = holdsSecrets(t.Elem())
	}
	secretive.Store(t, holds)
	return holds
}
