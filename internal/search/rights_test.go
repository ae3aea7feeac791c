package search

import "prelude/projections"

// visibleToAnn are the presets of rightsCorpus that she may find.
var visibleToAnn = map[string]bool{
	preset(1, "", "", "").ID: true, // the org's
	preset(2, "", "", "").ID: true, // her own
}

// rightsCorpus has the same text under all rights.
func rightsCorpus() []projections.Document {
	docs := make([]projections.Document, 7)
	for i := range docs {
		docs[i] = preset(i+1, "Secret plan", "A secret text.", "The secret is here.", "unseen")
	}
	docs[0].Tags, docs[1].Tags = []string{"seen"}, []string{"seen"}
	docs[1].Scope, docs[1].Owner = "user", ann
	docs[2].Scope = "user"                                            // Bob's
	docs[3].Org = theirs                                              // another org's
	docs[4].Org, docs[4].Scope, docs[4].Owner = theirs, "user", ann   // Ann's in another org
	docs[5].Deleted = true                                            // the org's, deleted
	docs[6].Scope, docs[6].Owner, docs[6].Deleted = "user", ann, true // Ann's, deleted
	return docs
}
