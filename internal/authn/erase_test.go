package authn

import "testing"

func TestErase_refuses_all_keys_of_a_person_though_the_database_does_not_know_yet(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	other := r.book.keys[keyID]
	other.User, other.Key = "usr_2", "key_other"
	r.book.keys["key_other"] = other
	r.accepts()
	if !r.Valid(t.Context(), "key_other") { // so that both are known
		t.Fatal("the other's key is not valid")
	}
	mine, done := r.While(t.Context(), keyID)
	defer done()
	theirs, left := r.While(t.Context(), "key_other")
	defer left()
	r.Erase(olga.User)
	<-mine.Done()
	if theirs.Err() != nil {
		t.Error("what another has open has ended")
	}
	r.refuses("Bearer " + token)
	r.Forget() // and the database still has not heard of it
	r.refuses("Bearer " + token)
	if r.Valid(t.Context(), keyID) || !r.Valid(t.Context(), "key_other") {
		t.Error("the wrong key is valid")
	}
}
