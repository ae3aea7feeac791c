package llm

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"prelude/domain/answer"
)

// heardParts is all that a reply said, as it is kept: its text among the parts that are none.
func (h heard) heardParts(t *testing.T) string {
	t.Helper()
	b, err := json.Marshal(answer.Whole(h.text, h.said.Parts()))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// one is a piece of a stream with these members of the delta.
func one(delta string) string { return event("{"+delta+"}", "null") }

// called is a piece of a stream with these tool calls.
func called(calls string) string { return one(`"tool_calls":[` + calls + `]`) }

const (
	toolsEnd = `data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}` + "\n\n" + end
	callA    = `{"kind":"tool_call","name":"function","value":{"function":{"arguments":"{\"x\":1}","name":"f"},` +
		`"id":"a","type":"function"}}`
	callB = `{"kind":"tool_call","name":"function","value":{"function":{"arguments":"{\"x\":2}","name":"f"},` +
		`"id":"b","type":"function"}}`
)

// TestReply_says_all_that_the_model_does: whatever a server puts beside the text is put together once, whether it comes
// whole or in pieces, and in the forms in which servers write it.
func TestReply_says_all_that_the_model_does(t *testing.T) {
	t.Parallel()
	const a = `"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}`
	const b = `"id":"b","type":"function","function":{"name":"f","arguments":"{\"x\":2}"}`
	text := func(s string) string { return `{"kind":"text","text":"` + s + `"}` }
	for name, c := range map[string]struct{ body, parts string }{
		"calls that all have index 0":      {called(`{"index":0,`+a+`}`) + called(`{"index":0,`+b+`}`) + toolsEnd, callA + "," + callB},
		"calls without an index, at once":  {called(`{`+a+`},{`+b+`}`) + toolsEnd, callA + "," + callB},
		"calls without an index, by turns": {called(`{`+a+`}`) + called(`{`+b+`}`) + toolsEnd, callA + "," + callB},
		"calls without an index, in pieces": {called(`{"id":"a","function":{"name":"f","arguments":"{\"x\""}}`) +
			called(`{"function":{"arguments":":1}"}}`) + called(`{`+b+`}`) + toolsEnd, callA + "," + callB},
		"calls without index or id": {called(`{"function":{"name":"f","arguments":"{\"x\":1}"}}`) +
			called(`{"function":{"name":"f","arguments":"{\"x\":2}"}}`) + toolsEnd,
			strings.ReplaceAll(callA, `"id":"a",`, "") + "," + strings.ReplaceAll(callB, `"id":"b",`, "")},
		"a name in each piece": {called(`{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":"}}`) +
			called(`{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"1}"}}`) + toolsEnd, callA},
		"an index that leaves a gap": {called(`{"index":1,`+a+`}`) + toolsEnd, callA},
		"pieces of two calls, mixed": {called(`{"index":0,"id":"a","function":{"name":"f","arguments":""}}`) +
			called(`{"index":1,"id":"b","function":{"name":"f","arguments":""}}`) +
			called(`{"index":0,"function":{"arguments":"{\"x\":1}"}}`) + called(`{"index":1,"function":{"arguments":"{\"x\":2}"}}`) +
			toolsEnd, callA + "," + callB},
		"arguments that are an object": {called(`{"index":"0","id":"a","function":{"name":"f","arguments":{"x": 1}}}`) +
			toolsEnd, callA},
		"an id that is a number": {called(`{"index":0,"id":7,"function":{"name":"f","arguments":"{\"x\":1}"}}`) + toolsEnd,
			strings.ReplaceAll(callA, `"id":"a"`, `"id":"7"`)},
		"a signature in a call": {called(`{"index":0,"extra_content":{"google":{"thought_signature":"AA=="}},`+a+`}`) +
			toolsEnd, strings.ReplaceAll(callA, `"value":{`, `"value":{"extra_content":{"google":{"thought_signature":"AA=="}},`)},
		"a custom call": {called(`{"index":0,"id":"a","type":"custom","custom":{"name":"sql","input":"1"}}`) + toolsEnd,
			`{"kind":"tool_call","name":"custom","value":{"custom":{"input":"1","name":"sql"},"id":"a","type":"custom"}}`},
		"the call of older servers": {one(`"function_call":{"name":"f","arguments":"{\"x\""}`) +
			one(`"function_call":{"arguments":":1}"}`) + event("{}", `"function_call"`) + end,
			strings.ReplaceAll(callA, `"id":"a",`, "")},
		"no finish after a call": {called(`{"index":0,`+a+`}`) + end, callA},
		"thoughts, then a text": {one(`"reasoning_content":"h"`) + one(`"reasoning_content":"m"`) + say("42") + stop + end,
			`{"kind":"reasoning","name":"reasoning_content","text":"hm"},` + text("42")},
		"thoughts by another name": {one(`"reasoning":"hm"`) + say("42") + stop + end,
			`{"kind":"reasoning","name":"reasoning","text":"hm"},` + text("42")},
		"thoughts under two names": {one(`"reasoning":"h","reasoning_content":"h"`) +
			one(`"reasoning":"m","reasoning_content":"m"`) + say("42") + stop + end,
			`{"kind":"reasoning","name":"reasoning_content","text":"hm"},` + text("42") +
				`,{"kind":"other","name":"reasoning","text":"hm"}`},
		"thoughts in detail": {one(`"reasoning_details":[{"text":"h"}]`) + one(`"reasoning_details":[{"text":"m"}]`) + stop + end,
			`{"kind":"reasoning","name":"reasoning_details","value":[{"text":"h"},{"text":"m"}]}`},
		"thoughts between texts": {say("a") + one(`"reasoning_content":"hm"`) + say("b") + stop + end,
			text("a") + `,{"kind":"reasoning","name":"reasoning_content","at":1,"text":"hm"},{"kind":"text","at":1,"text":"b"}`},
		"nothing but thoughts": {one(`"reasoning_content":"hm"`) + event("{}", `"length"`) + end,
			`{"kind":"reasoning","name":"reasoning_content","text":"hm"}`},
		"a refusal": {one(`"refusal":"I "`) + one(`"refusal":"cannot."`) + stop + end,
			`{"kind":"refusal","name":"refusal","text":"I cannot."}`},
		"an image": {one(`"images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]`) + stop + end,
			`{"kind":"image","name":"images","value":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}`},
		"sound in pieces": {one(`"audio":{"id":"x","data":"AA"}`) + one(`"audio":{"data":"BB"}`) + stop + end,
			`{"kind":"audio","name":"audio","value":{"data":"AABB","id":"x"}}`},
		"annotations": {say("a") + one(`"annotations":[{"type":"url_citation"}]`) + stop + end,
			text("a") + `,{"kind":"other","name":"annotations","value":[{"type":"url_citation"}]}`},
		"log probabilities": {`data: {"choices":[{"delta":{"content":"a"},"logprobs":{"content":[{"token":"a"}]}}]}` + "\n\n" +
			`data: {"choices":[{"delta":{"content":"a"},"logprobs":{"content":[{"token":"a"}]}}]}` + "\n\n" + stop + end,
			text("aa") + `,{"kind":"other","name":"logprobs","place":"choice","value":{"content":[{"token":"a"},{"token":"a"}]}}`},
		"what each piece says again": {`data: {"service_tier":"x","citations":["u"],"choices":[{"delta":{"content":"a"}}]}` + "\n\n" +
			`data: {"service_tier":"x","citations":["u"],"choices":[{"delta":{"content":"b"}}]}` + "\n\n" + stop + end,
			text("ab") + `,{"kind":"other","name":"citations","place":"answer","value":["u"]},` +
				`{"kind":"other","name":"service_tier","place":"answer","value":"x"}`},
		"content in parts": {one(`"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"He"}]`) +
			one(`"content":[{"type":"text","text":"llo"}]`) + stop + end,
			`{"kind":"reasoning","name":"reasoning_content","text":"hm"},` + text("Hello")},
		"a message where a delta belongs": {`data: {"choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},` +
			`"finish_reason":"stop"}]}` + "\n\n" + end, text("Hello")},
		"a completed text":        {`data: {"choices":[{"index":0,"text":"Hello","finish_reason":"stop"}]}` + "\n\n" + end, text("Hello")},
		"an index that is a text": {`data: {"choices":[{"index":"0","delta":{"content":"a"}}]}` + "\n\n" + stop + end, text("a")},
		"side fields of odd types": {`data: {"error":false,"object":7,"usage":[],"choices":[{"delta":{"content":"a","refusal":false,` +
			`"tool_calls":null}}]}` + "\n\n" + stop + end, text("a")},
		"a byte that is no character": {event("{\"content\":\"caf\xe9 au\"}", "null") + stop + end, text("caf\uFFFD au")},
		"half a pair":                 {one(`"content":"a\ud83d then"`) + stop + end, text("a\uFFFD then")},
		"half a pair at the end":      {one(`"content":"a\ud83d"`) + stop + end, text("a\uFFFD")},
		"halves in two pieces":        {one(`"content":"a\ud83d"`) + one(`"content":"\ude00b"`) + stop + end, text("a😀b")},
		"halves of a thought":         {one(`"reasoning":"\ud83d"`) + one(`"reasoning":"\ude00"`) + stop + end, `{"kind":"reasoning","name":"reasoning","text":"😀"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := hear(t, c.body)
			if h.err != nil {
				t.Fatal(h.err)
			}
			if got := h.heardParts(t); got != "["+c.parts+"]" {
				t.Errorf("it says\n%s\nwant\n[%s]", got, c.parts)
			}
		})
	}
}

// A reply that comes to its end with nothing in it that can be read is a failure, never an empty success.
func TestReply_of_which_nothing_can_be_read(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"a finish for calls, and none":       say("a") + toolsEnd,
		"calls that are none":                called(`5`) + toolsEnd,
		"calls that are a text":              one(`"tool_calls":"f"`) + stop + end,
		"content that is a number":           one(`"content":7`) + stop + end,
		"content of a part without a text":   one(`"content":[{"type":"text"}]`) + stop + end,
		"a member that nobody knows":         one(`"poem":"roses"`) + stop + end,
		"a whole reply with a number":        `{"choices":[{"message":{"content":7},"finish_reason":"stop"}]}`,
		"a whole reply for calls, with none": `{"choices":[{"message":{"content":null},"finish_reason":"tool_calls"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hear(t, body).fails(t, codeGarbage, false)
		})
	}
}

// TestReason reads why servers say that a model stopped.
func TestReason(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]string{`"stop"`: "stop", `"STOP"`: "stop", `"MAX_TOKENS"`: "length", `"max_tokens"`: "length",
		`"Length"`: "length", `"SAFETY"`: "content_filter", `"RECITATION"`: "content_filter", `"tool_use"`: "tool_calls",
		`"FUNCTION_CALL"`: "tool_calls", `"eos"`: "stop", `null`: "", `""`: "", `7`: "stop", `{"type":"x"}`: "stop"} {
		if got := reason([]byte(word)); got != want {
			t.Errorf("%s is %q, want %q", word, got, want)
		}
	}
}

// Other forms of a stream that the standard allows, or that servers send all the same.
func TestReply_of_an_odd_stream(t *testing.T) {
	t.Parallel()
	whole := say("Hel") + say("lo") + stop + end
	for name, body := range map[string]string{
		"carriage returns alone":    strings.ReplaceAll(whole, "\n", "\r"),
		"a field that nobody knows": "foo: bar\n\n" + whole,
		"retry without a colon":     "retry\n\n" + whole,
		"a line of one blank":       " \n" + whole,
		"a word as data":            "data: ping\n\n" + whole,
		"data of two lines":         strings.Replace(whole, `{"choices"`, "{\ndata: \"choices\"", 1),
		"no empty lines":            strings.ReplaceAll(whole, "\n\n", "\n"),
		"tabs after data":           strings.ReplaceAll(whole, "data: ", "data:\t"),
		"tabs before a whole one":   "\t" + `{"choices":[{"message":{"content":"Hello"},"finish_reason":"stop"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hear(t, body).says(t, "Hello", "stop")
		})
	}
}

// TestCounted reads what servers say of tokens.
func TestCounted(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]string{
		`{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8}`:  `{"input_tokens":5,"output_tokens":3}`,
		`{"prompt_tokens":5.0,"completion_tokens":"3"}`:               `{"input_tokens":5,"output_tokens":3}`,
		`{"prompt_tokens":5,"completion_tokens":37.25}`:               `{"input_tokens":5,"output_tokens":37}`,
		`{"prompt_tokens":-1,"completion_tokens":3}`:                  `null`,
		`{"prompt_tokens":"NaN","completion_tokens":3}`:               `null`,
		`{"prompt_tokens":4611686018427387904,"completion_tokens":3}`: `null`,
		`[]`: `null`,
		`{}`: `null`,
		`{"prompt_tokens":9,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":0,"note":"a\u0000"}}`: `{"input_tokens":9,` +
			`"output_tokens":2,"details":{"prompt_tokens_details":{"cached_tokens":0}}}`,
		`{"prompt_tokens":9,"completion_tokens":2,"cost":0.5,"x":1e400}`: `{"input_tokens":9,"output_tokens":2,"details":{"cost":0.5}}`,
	} {
		b, err := json.Marshal(counted([]byte(said)))
		if err != nil || string(b) != want {
			t.Errorf("%s is %s, want %s: %v", said, b, want, err)
		}
	}
}

// A server may compress what it sends though it was not asked to.
func TestReply_that_is_compressed(t *testing.T) {
	t.Parallel()
	answering := func(encoding string, body []byte) heard {
		r := served(t, Timeouts{}, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", encoding)
			_, _ = w.Write(body)
		})
		return listen(t, ask(t.Context(), r, "openai/m", asking("hi")))
	}
	for _, body := range []string{say("Hel") + say("lo") + stop + end,
		`{"choices":[{"message":{"content":"Hello"},"finish_reason":"stop"}]}`} {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		if _, err := z.Write([]byte(body)); err != nil || z.Close() != nil {
			t.Fatal(err)
		}
		answering("gzip", packed.Bytes()).says(t, "Hello", "stop")
		answering("gzip", packed.Bytes()[:packed.Len()/2]).fails(t, codeCut, true)
		answering("identity", []byte(body)).says(t, "Hello", "stop")
		answering("br", packed.Bytes()).fails(t, codeGarbage, false)
	}
	answering("gzip", []byte("plain")).fails(t, codeCut, true)
	bomb := bytes.Buffer{}
	z := gzip.NewWriter(&bomb)
	_, err := io.CopyN(z, zeros{}, 2*maxLine)
	if err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	answering("gzip", bomb.Bytes()).fails(t, codeGarbage, false)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}
