package storetest

import (
	"math/rand/v2"
	"time"
)

// Trouble misbehaves until it is told to stop, and says how often.
func Trouble(p *Proxy, rng *rand.Rand, stop <-chan struct{}) (faults int) {
	defer p.Delay(0)
	for ; ; faults++ {
		switch rng.IntN(6) {
		case 0:
			p.Cut()
		case 1:
			p.CutUpload(int64(rng.IntN(20_000)))
		case 2, 3:
			p.CutDownload(int64(rng.IntN(20_000)))
		case 4:
			p.Delay(time.Duration(rng.IntN(5)) * time.Millisecond)
		case 5:
			p.Down()
			<-time.After(time.Duration(rng.IntN(100)) * time.Millisecond)
			p.Up()
		}
		select {
		case <-stop:
			return faults
		case <-time.After(time.Duration(20+rng.IntN(150)) * time.Millisecond):
		}
	}
}
