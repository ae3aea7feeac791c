package search

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"prelude/internal/eventlog"
	"prelude/projections"
)

const (
	ours   = "org_00000000000000000000000001"
	theirs = "org_00000000000000000000000002"
	ann    = "usr_00000000000000000000000001"
	bob    = "usr_00000000000000000000000002"
)

// noon is when the corpus was written.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// preset makes an org preset of ours; the tests change what they are about.
func preset(n int, name, description, instructions string, tags ...string) projections.Document {
	return projections.Document{
		ID: fmt.Sprintf("prs_%026d", n), Org: ours, Scope: "org", Owner: bob, Slug: fmt.Sprint("p", n),
		Name: name, Description: description, Instructions: instructions, Tags: tags, Language: "en",
		Model: "demo", Status: "published", Version: 1, CreatedAt: noon, UpdatedAt: noon,
		Position: eventlog.Position(n + 1),
	}
}

// question is a search of a person, and the name of the preset that she means.
type question struct{ class, text, want string }

// distractors are presets that nobody asks for: plausible ones, of the same words as the others
// where chance has it.
func distractors(n int) []projections.Document {
	rng := rand.New(rand.NewPCG(7, 7))
	pick := func(list string) string {
		words := strings.Split(list, ",")
		return words[rng.IntN(len(words))]
	}
	const (
		kinds = "assistant,helper,coach,writer,analyst,planner,reviewer,generator,expert,guide," +
			"tutor,checker"
		tones = "friendly,formal,brief,detailed,strict,playful,neutral,patient,critical,senior"
		nouns = "invoice,recipe,podcast,garden,budget,contract,newsletter,novel,lecture,marathon," +
			"startup,museum,insurance,wedding,classroom,warehouse,blog,survey,speech,poem,portfolio," +
			"roadmap,sprint,onboarding,proposal,grant,landing page,press release,product,customer," +
			"inventory,logistics,playlist,workout"
		verbs = "plans,drafts,checks,improves,explains,compares,collects,organises,rates," +
			"simplifies,outlines"
		ends = "for small teams,for beginners,for busy managers,step by step,with examples," +
			"in plain words,for schools,with a table,for a monthly report,in a friendly voice," +
			"for a code base,for a web shop"
		tags = "marketing,education,finance,legal,sales,health,travel,food,sports,writing,design," +
			"support,hr"
	)
	docs := make([]projections.Document, n)
	for i := range docs {
		noun, tone := pick(nouns), pick(tones)
		docs[i] = preset(1000+i, fmt.Sprintf("%s %s", noun, pick(kinds)),
			fmt.Sprintf("A %s one that %s a %s %s.", tone, pick(verbs), noun, pick(ends)),
			fmt.Sprintf("You are a %s %s. Your answer %s the %s %s. Ask about the %s. Version %d.",
				tone, pick(kinds), pick(verbs), noun, pick(ends), pick(nouns), i), pick(tags), pick(tags))
		docs[i].UpdatedAt = noon.Add(-time.Duration(rng.IntN(1000)) * time.Hour)
	}
	return docs
}

// reciprocal is the mean of 1/rank of what was meant among the first ten, for all questions.
func reciprocal(t *testing.T, ask func(text string) []string) float64 {
	t.Helper()
	byName := map[string]string{}
	for _, d := range judged() {
		byName[d.Name] = d.ID
	}
	sum, classes, counts := 0.0, map[string]float64{}, map[string]int{}
	for _, q := range questions {
		if byName[q.want] == "" {
			t.Fatalf("no preset is called %q", q.want)
		}
		score := 0.0
		for i, id := range ask(q.text) {
			if id == byName[q.want] && i < 10 {
				score = 1 / float64(i+1)
			}
		}
		if score < 1 {
			t.Logf("%s: %q finds %q with %.2f", q.class, q.text, q.want, score)
		}
		sum, classes[q.class] = sum+score, classes[q.class]+score
		counts[q.class]++
	}
	for class := range classes {
		classes[class] /= float64(counts[class])
	}
	t.Logf("by class: %v", classes)
	return sum / float64(len(questions))
}
