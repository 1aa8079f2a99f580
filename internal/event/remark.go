package event

import (
	"strings"
	"time"
	"unicode"

	"github.com/docker/go-units"
)

// worthSaying is how old the record of a step is before its age is shown, unless there is more to say of it.
const worthSaying = time.Hour

// Remark is what is shown beside a step that ended: of a cached one where its record came from, how old it is and
// whether it fetches; of one that ran again though it was recorded, how the result compares. "" for others.
func (f Finished) Remark() string {
	switch {
	case f.Record == nil:
		return ""
	case f.Status == Cached:
		return f.cachedRemark()
	case f.Status == Done:
		return f.againRemark()
	}
	return ""
}

func (f Finished) cachedRemark() string {
	r := f.Record
	age := units.HumanDuration(r.Age())
	age = string(unicode.ToLower(rune(age[0]))) + age[1:] + " ago"
	var parts []string
	if r.IsObservedHit() {
		parts = append(parts, r.Observed.String())
	}
	if r.Origin != "" {
		parts = append(parts, "from "+r.Origin)
	}
	switch {
	case r.Reached != nil && r.Fetches != "":
		parts = append(parts, "fetched "+r.Source()+" "+age+"; --refresh runs it again")
	case r.Fetches != "":
		parts = append(parts, "fetched "+age+", "+r.Fetches+"; --refresh runs it again")
	case r.Origin != "" || r.Age() >= worthSaying:
		parts = append(parts, "made "+age)
	}
	return strings.Join(parts, ", ")
}

func (f Finished) againRemark() string {
	again := f.Record.Again
	switch {
	case again == nil:
		return ""
	case again.Same:
		return "same files as recorded, whose layer stays"
	case again.Changes == "":
		return "not the same files as recorded"
	}
	return "differs from what was recorded: " + again.Changes
}
