package storetest

import "github.com/google/uuid"

// Compare holds the ids of events that were acknowledged against those that are stored: it says how many
// are not there, and how many are there more than once.
func Compare(acknowledged, stored []uuid.UUID) (lost, twice int) {
	times := map[uuid.UUID]int{}
	for _, id := range stored {
		if times[id]++; times[id] == 2 {
			twice++
		}
	}
	for _, id := range acknowledged {
		if times[id] == 0 {
			lost++
		}
	}
	return lost, twice
}
