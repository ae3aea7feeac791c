package llm

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// chunks is a stream of n pieces of about 210 bytes, as OpenAI sends them without padding.
func chunks(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `data: {"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",`+
			`"object":"chat.completion.chunk","created":1741569952,"model":"gpt-4.1-2025-04-14",`+
			`"choices":[{"index":0,"delta":{"content":" word%d"},"finish_reason":null}]}`+
			"\n\n", i%10)
	}
	return b.String() + stop + end
}

const perStream = 1000

// BenchmarkReply is the time for one chunk, without the socket.
func BenchmarkReply(b *testing.B) {
	body := []byte(chunks(perStream))
	limits := Timeouts{FirstToken: time.Minute, BetweenTokens: time.Minute, Total: time.Hour}
	b.ReportAllocs()
	for range b.N/perStream + 1 {
		ctx, w := newWatch(context.Background(), limits)
		r := newReply(w, bytes.NewReader(body))
		for {
			if _, err := r.next(ctx); err != nil {
				break
			}
		}
		w.stop()
	}
}

// BenchmarkBareRelay is what a relay pays that decodes each chunk with encoding/json and watches
// nothing.
func BenchmarkBareRelay(b *testing.B) {
	body := []byte(chunks(perStream))
	b.ReportAllocs()
	for range b.N/perStream + 1 {
		in, text := bufio.NewReader(bytes.NewReader(body)), 0
		for {
			line, err := in.ReadSlice('\n')
			if err == io.EOF {
				break
			}
			data, ok := bytes.CutPrefix(line, []byte("data: "))
			if !ok || data[0] != '{' {
				continue
			}
			var chunk struct {
				Choices []struct {
					Delta  struct{ Content string } `json:"delta"`
					Finish *string                  `json:"finish_reason"`
				} `json:"choices"`
			}
			if err := json.Unmarshal(data, &chunk); err != nil {
				b.Fatal(err)
			}
			text += len(chunk.Choices[0].Delta.Content)
		}
	}
}
