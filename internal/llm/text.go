package llm

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// unquote appends to dst the text of the JSON string that src begins with, and returns what follows
// it. Bytes that are not UTF-8 stay as they are, and half of a surrogate pair becomes the three
// bytes that UTF-8 would have for it: see [runes].
func unquote(dst, src []byte) (text, rest []byte, ok bool) {
	if len(src) == 0 || src[0] != '"' {
		return dst, src, false
	}
	src = src[1:]
	for i := 0; i < len(src); i++ {
		switch c := src[i]; {
		case c == '"':
			return append(dst, src[:i]...), src[i+1:], true
		case c < ' ':
			return dst, src, false
		case c == '\\':
			dst = append(dst, src[:i]...)
			if dst, src, ok = unescape(dst, src[i:]); !ok {
				return dst, src, false
			}
			i = -1
		}
	}
	return dst, src, false
}

// unescape appends what the escape at the beginning of src stands for.
func unescape(dst, src []byte) (text, rest []byte, ok bool) {
	if len(src) < 2 {
		return dst, src, false
	}
	if src[1] != 'u' {
		const from, to = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
		i := bytes.IndexByte([]byte(from), src[1])
		if i < 0 {
			return dst, src, false
		}
		return append(dst, to[i]), src[2:], true
	}
	r, ok := hex(src)
	if !ok {
		return dst, src, false
	}
	src = src[6:]
	if utf16.IsSurrogate(r) {
		if low, ok := hex(src); ok && utf16.DecodeRune(r, low) != utf8.RuneError {
			return utf8.AppendRune(dst, utf16.DecodeRune(r, low)), src[6:], true
		}
		return append(dst, 0xE0|byte(r>>12), 0x80|byte(r>>6)&0x3F, 0x80|byte(r)&0x3F), src, true
	}
	return utf8.AppendRune(dst, r), src, true
}

// hex reads \uXXXX at the beginning of src.
func hex(src []byte) (rune, bool) {
	if len(src) < 6 || src[0] != '\\' || src[1] != 'u' {
		return 0, false
	}
	for _, c := range src[2:6] {
		if digit := '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'; !digit {
			return 0, false
		}
	}
	r, err := strconv.ParseUint(string(src[2:6]), 16, 16)
	return rune(r), err == nil
}

// runes joins characters that were split over two pieces: the bytes of one, or the halves of a
// surrogate pair.
type runes struct{ held []byte }

// torn reports whether half a character waits for the rest of it.
func (r *runes) torn() bool { return len(r.held) > 0 }

// join returns text as far as it is whole, after what was held of the text before it. What can be no character is
// marked as clients mark it.
func (r *runes) join(text []byte) string {
	if len(r.held) == 0 && utf8.Valid(text) {
		return string(text)
	}
	if len(text) == 0 {
		return ""
	}
	all := append(r.held, text...)
	r.held = nil
	var out []byte
	for len(all) > 0 {
		c, size := utf8.DecodeRune(all)
		switch {
		case c != utf8.RuneError || size > 1:
			out = append(out, all[:size]...)
		case !utf8.FullRune(all) || len(all) == 3 && utf16.IsSurrogate(surrogate(all)):
			r.held = bytes.Clone(all)
			return string(out)
		default:
			size = 1
			if half := surrogate(all); half != 0 {
				size = 3
				if pair := utf16.DecodeRune(half, surrogate(all[3:])); pair != utf8.RuneError {
					c, size = pair, 6
				}
			}
			out = utf8.AppendRune(out, c)
		}
		all = all[size:]
	}
	return string(out)
}

// rest ends the text: of half a character that no other half came for, a mark is left.
func (r *runes) rest() string {
	if !r.torn() {
		return ""
	}
	r.held = nil
	return "\uFFFD"
}

// surrogate reads what unquote wrote for half of a pair; zero if that is not what b begins with.
func surrogate(b []byte) rune {
	if len(b) < 3 || b[0] != 0xED || b[1]&0xE0 != 0xA0 || b[2]&0xC0 != 0x80 {
		return 0
	}
	return 0xD000 | rune(b[1]&0x3F)<<6 | rune(b[2]&0x3F)
}
