package esnode

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"prelude/test/conformance/wire"
)

// A pattern that RE2 refuses may backtrack for ever; it must not take the node with it.
func TestFilter_a_pattern_that_takes_too_long_ends_the_call(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Must(strings.Repeat("a", 60)+"b", noStream, "a")
	f := wire.Filter{Regex: "^(?=a)(a+)+$", Window: 32, Multiplier: 1}
	_, err := r.Read(wire.Filtered(wire.Options(), f))
	if wire.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "takes too long") {
		t.Errorf("a read ends with %v", err)
	}
	_, err = r.Read(wire.Subscribed(wire.Filtered(wire.Options(), f)))
	if wire.Code(err) != codes.InvalidArgument {
		t.Errorf("a subscription ends with %v", err)
	}
}
