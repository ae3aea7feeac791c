package llm

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

var errLong = errors.New("a line is too long")

// events reads a stream of server-sent events as the standard says (WHATWG HTML, 9.2.6), of lines that end with line
// feeds.
type events struct {
	in      *bufio.Reader
	long    []byte // a line that did not fit the reader
	data    []byte // of the event that is being read
	kind    []byte // its type
	again   []byte // data of a line that was read and belongs to the event after this one
	strange bool   // there was something that no such stream has
	comment func() // is told of comments: the server says that it is at work
}

// next returns the data of the next event and its type; with an error, what there is of it. The bytes are good until
// the next call.
func (e *events) next() (data, kind []byte, err error) {
	e.data, e.kind = append(e.data[:0], e.again...), e.kind[:0]
	e.again = e.again[:0]
	for {
		line, err := e.line()
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch {
		case len(line) == 0 && err == nil && len(e.data) > 0:
			return bytes.TrimSpace(e.data), e.kind, nil
		case string(name) == "data" && len(e.data) > 0:
			if before := bytes.TrimSpace(e.data); bytes.Equal(before, done) || jsontext.Value(before).IsValid(lenient) {
				e.again = append(e.again, value...) // a server that puts no empty line between events
				return before, e.kind, nil
			}
			e.data = append(e.data, '\n')
			fallthrough
		case string(name) == "data":
			if e.data = append(e.data, value...); len(e.data) > maxLine {
				return nil, nil, errLong
			}
		case len(line) > 0 && len(name) == 0:
			e.comment()
		case string(name) == "event":
			e.kind = append(e.kind[:0], value...)
		default:
			e.strange = e.strange || bytes.ContainsAny(name, "<>{}") // a page, or JSON that is not whole
		}
		if err != nil {
			return bytes.TrimSpace(e.data), e.kind, err
		}
	}
}

// line returns the next line without its end; with an error, what there is of it.
func (e *events) line() ([]byte, error) {
	line, err := e.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		e.long = e.long[:0]
		for errors.Is(err, bufio.ErrBufferFull) {
			if e.long = append(e.long, line...); len(e.long) > maxLine {
				return nil, errLong
			}
			line, err = e.in.ReadSlice('\n')
		}
		e.long = append(e.long, line...)
		line = e.long
	}
	if err != nil {
		return line, err
	}
	return line[:len(line)-1], nil
}

// lineFeeds ends lines with line feeds, which may end with carriage returns, or both.
type lineFeeds struct {
	from     io.Reader
	returned bool // the last byte was a carriage return: a line feed belongs to it
}

func (l *lineFeeds) Read(p []byte) (int, error) {
	n, err := l.from.Read(p)
	if !l.returned && bytes.IndexByte(p[:n], '\r') < 0 {
		return n, err
	}
	kept := p[:0]
	for _, c := range p[:n] {
		switch {
		case c == '\n' && l.returned:
		case c == '\r':
			kept = append(kept, '\n')
		default:
			kept = append(kept, c)
		}
		l.returned = c == '\r'
	}
	return len(kept), err
}
