package eventstore

import "time"

// quiet is how long answers have been waited for in vain, whoever waited: each may have less patience
// than it takes to tell a silence. What holds it guards it.
type quiet struct {
	waiting int
	since   time.Time     // while somebody waits
	before  time.Duration // once nobody does
}

func (q *quiet) begin() {
	if q.waiting == 0 {
		q.since = time.Now().Add(-q.before)
	}
	q.waiting++
}

// heard says that an answer came, to whomever.
func (q *quiet) heard() { q.since, q.before = time.Now(), 0 }

// end is for one who waits no longer, answered or not. It gives how long it has been quiet.
func (q *quiet) end() time.Duration {
	q.waiting--
	q.before = time.Since(q.since)
	return q.before
}
