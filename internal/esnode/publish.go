package esnode

import "time"

// publication is what a commit made visible: the events up to a position, and the requests that can be
// acknowledged with it.
type publication struct {
	durable int64
	changed map[string]*state // nil: nothing was written
	added   []record
	acks    []*request
	at      time.Time     // when; in the past: at once
	done    chan struct{} // closed after it, nil where nobody waits
}

// publisher makes commits visible in their order, each no sooner than it should be.
type publisher struct {
	book  *logbook
	queue chan publication
	done  chan struct{}
}

// unpublished is how many commits may wait to become visible; beyond it the writer waits.
const unpublished = 64

func newPublisher(book *logbook) *publisher {
	return &publisher{
		book: book, queue: make(chan publication, unpublished), done: make(chan struct{}),
	}
}

// run works until the queue is closed.
func (p *publisher) run() {
	defer close(p.done)
	for next := range p.queue {
		time.Sleep(time.Until(next.at))
		p.book.show(&next)
	}
}

// settle waits until all that was committed is visible.
func (p *publisher) settle() {
	done := make(chan struct{})
	p.queue <- publication{done: done}
	<-done
}

func (p *publisher) stop() {
	close(p.queue)
	<-p.done
}

// show makes a commit visible and then acknowledges it.
func (l *logbook) show(p *publication) {
	if p.changed != nil {
		l.publish(p.durable, p.changed, p.added)
	}
	for _, r := range p.acks {
		r.done()
	}
	if p.done != nil {
		close(p.done)
	}
}
