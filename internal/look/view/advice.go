package view

import (
	"strings"

	"github.com/strata-build/strata/internal/layer"
)

// caches are directories whose contents nobody needs in an image, and what keeps them out.
var caches = []struct{ dir, advice string }{
	{"/var/lib/apt/lists/", "keep the lists out of the image: RUN --mount=type=cache,target=/var/lib/apt/lists, or rm -rf /var/lib/apt/lists/* in the RUN that calls apt-get update"},
	{"/var/cache/apt/", "keep the packages out of the image: RUN --mount=type=cache,target=/var/cache/apt, or apt-get clean in the RUN that calls apt-get install"},
	{"/var/cache/apk/", "keep the packages out of the image: apk add --no-cache"},
	{"/var/cache/dnf/", "keep the packages out of the image: RUN --mount=type=cache,target=/var/cache/dnf, or dnf clean all in the same RUN"},
	{"/.cache/pip/", "keep pip's cache out of the image: RUN --mount=type=cache,target=/root/.cache/pip, or pip install --no-cache-dir"},
	{"/.npm/", "keep npm's cache out of the image: RUN --mount=type=cache,target=/root/.npm"},
	{"/.cache/go-build/", "keep the compiler's cache out of the image: RUN --mount=type=cache,target=/root/.cache/go-build"},
	{"/go/pkg/mod/", "keep the modules out of the image: RUN --mount=type=cache,target=/go/pkg/mod"},
	{"/.m2/", "keep Maven's repository out of the image: RUN --mount=type=cache,target=/root/.m2"},
}

// advice says what to change about a waste. base is how many of the lowest layers are those of the base image.
func advice(w *DuWaste, what layer.Attributes, base int) string {
	copied := strings.HasPrefix(w.Of.Instruction, "COPY") || strings.HasPrefix(w.Of.Instruction, "ADD")
	for _, c := range caches {
		if w.Of.Layer > base && len(w.Paths) > 0 && strings.Contains(w.Paths[0], c.dir) {
			return c.advice
		}
	}
	switch {
	case w.Of.Layer <= base && w.Change == "removed":
		return "the bytes stay in the base image: choose one without them, or copy what is needed into a stage of its own"
	case w.Of.Layer <= base:
		return "the bytes of the base image stay beside the new ones: change fewer of its files, or choose another base"
	case w.Change == "removed" && copied:
		return "do not copy what is removed later: leave it out with .dockerignore or --exclude, or mount it with RUN --mount=type=bind"
	case w.Change == "removed":
		return "remove them in the RUN that makes them, with &&, or make them in a stage of their own"
	case what == layer.AttrOwner && copied:
		return "give the owner when copying: COPY --chown"
	case what == layer.AttrMode && copied:
		return "give the mode when copying: COPY --chmod"
	case what&^(layer.AttrOwner|layer.AttrMode) == 0 && w.Change == "changed" && copied:
		return "give owner and mode when copying: COPY --chown --chmod"
	case what&layer.AttrContent == 0 && w.Change == "changed":
		return "do it in the RUN that makes the files, with &&: a changed owner or mode stores the whole file again"
	case w.Change == "written":
		return "the files are stored twice with the same contents: write them once"
	}
	return "write the files once, in one step: each layer that writes a file stores all of it"
}
