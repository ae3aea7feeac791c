package esnode

import (
	"slices"
	"sort"
)

// fresh is the end of the log as it was committed, in memory, for who follows the log: several
// subscriptions read each event, and need not ask the file for it.
type fresh struct {
	records []record // all events after a position, oldest first
	after   int64
	bytes   int
}

// freshBytes is how much of the log's end is kept. Who has fallen further behind reads the file.
const freshBytes = 4 << 20

// add takes what a commit has added. At twice its bytes it drops the older half, so that what a
// record costs does not grow.
func (f *fresh) add(records []record) {
	f.records = append(f.records, records...)
	for i := range records {
		f.bytes += len(records[i].frame)
	}
	if f.bytes <= 2*freshBytes {
		return
	}
	drop := 0
	for ; f.bytes > freshBytes; drop++ {
		f.bytes -= len(f.records[drop].frame)
	}
	f.after = f.records[drop-1].pos
	f.records = slices.Clone(f.records[drop:])
}

// page gives the events after a position, at most limit; false: the file has to be read for them.
func (f *fresh) page(after int64, limit int) (page, bool) {
	if after < f.after {
		return page{}, false
	}
	from := sort.Search(len(f.records), func(i int) bool { return f.records[i].pos > after })
	p := page{}
	for _, r := range f.records[from:] {
		if !p.add(r, limit) {
			break
		}
	}
	p.end = p.room(limit)
	return p, true
}
