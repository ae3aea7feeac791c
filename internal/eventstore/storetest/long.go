package storetest

import "os"

// Long says that tests of what takes long run in their long form (make torture).
func Long() bool { return os.Getenv("PRELUDE_TORTURE") != "" }

// Scale is short, or long in the long form.
func Scale[T any](short, long T) T {
	if Long() {
		return long
	}
	return short
}
