package db

// FormatVersion is the version of the store's layout and schema. It rises when an older strata could no
// longer use the store without harm.
//
// 2 since a name may mean images for several platforms, which an older prune would remove.
const FormatVersion = 2

// schema is meta.db's. Digests are text, as everywhere else; times are milliseconds since 1970. Tables with large
// rows have a row ID: in one without, SQLite reads a whole row for each key that it compares on the way to another
// (btree.c, sqlite3BtreeIndexMoveto), and it reads a row up to the column that is asked for, so what is large comes
// last.
//   - configs: the image config of every image and every step; parent is the step or image it came from.
//     kind: "image" for what a build, pull, load or import gave, "step" for what lies before, "failed" for
//     the state that a failed step left.
//   - layers: what is known of each diffID. Whether it is here as a tree or a tar, the folder tells.
//   - blobs: compressed forms of layers, here (then there is a file) or in a repository.
//   - records: the cache; data is the record's JSON, owned by package cache.
//   - builds: what became of past builds; data is the JSON of their steps, owned by package explain. An index has
//     every build write two more pages, so there is one only for what builds themselves look for.
//   - logs: what the steps of the last of builds printed, by the seq of their row; data is compressed, owned by package
//     explain.
//   - seen: every record that there is or was; text is a digest of what the instruction says, pruned the time at
//     which the record went, 0 while it is there. An older strata does not know of builds and seen, and adds nothing
//     to them.
//   - plans: by the name of a build that is made again and again, what the last one used; records and configs are
//     JSON arrays of keys and IDs. used is when it did, held when one last began that may use the same, and spread
//     what stands in the rows of these already: package plans. An older strata does not know of such uses.
//   - observed: by the weak key of a step, the keys of records that say what the step read; used is when one was last
//     a hit.
//   - deltas: the layers whose tar is kept as what it has more than the tar of another, which stays as long. An older
//     strata does not know of them, and may remove that one: the layer is found damaged then, and made again.
//   - containers: names for an image and a command; each keeps its image.
//   - platforms: the images that a name means beside that in names, one for each platform that is asked for.
const schema = `
CREATE TABLE IF NOT EXISTS configs (
	id TEXT PRIMARY KEY NOT NULL, parent TEXT NOT NULL DEFAULT '', kind TEXT NOT NULL,
	added INTEGER NOT NULL, used INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS names (
	name TEXT PRIMARY KEY, id TEXT NOT NULL, manifest TEXT NOT NULL DEFAULT '', set_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS names_by_id ON names (id);
CREATE TABLE IF NOT EXISTS platforms (
	name TEXT NOT NULL, platform TEXT NOT NULL, id TEXT NOT NULL, manifest TEXT NOT NULL DEFAULT '',
	PRIMARY KEY (name, platform)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS platforms_by_id ON platforms (id);
CREATE TABLE IF NOT EXISTS containers (
	id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, image TEXT NOT NULL, text TEXT NOT NULL, command BLOB NOT NULL,
	created INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS containers_by_image ON containers (image);
CREATE TABLE IF NOT EXISTS layers (
	diff_id TEXT PRIMARY KEY, content_id TEXT NOT NULL DEFAULT '', size INTEGER NOT NULL DEFAULT -1,
	disk INTEGER NOT NULL DEFAULT 0, added INTEGER NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS blobs (
	digest TEXT NOT NULL, repository TEXT NOT NULL DEFAULT '', diff_id TEXT NOT NULL DEFAULT '',
	media_type TEXT NOT NULL, size INTEGER NOT NULL, used INTEGER NOT NULL,
	PRIMARY KEY (digest, repository)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS blobs_by_diff_id ON blobs (diff_id);
CREATE TABLE IF NOT EXISTS manifests (
	digest TEXT PRIMARY KEY NOT NULL, media_type TEXT NOT NULL, id TEXT NOT NULL DEFAULT '', data BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS manifests_by_id ON manifests (id);
CREATE TABLE IF NOT EXISTS records (
	key TEXT PRIMARY KEY NOT NULL, layer TEXT NOT NULL DEFAULT '',
	made INTEGER NOT NULL, used INTEGER NOT NULL, data BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS records_by_layer ON records (layer);
CREATE TABLE IF NOT EXISTS builds (
	seq INTEGER PRIMARY KEY, id TEXT NOT NULL, started INTEGER NOT NULL, took INTEGER NOT NULL,
	context TEXT NOT NULL, dockerfile TEXT NOT NULL, target TEXT NOT NULL, engine TEXT NOT NULL,
	image TEXT NOT NULL, error TEXT NOT NULL, saved INTEGER NOT NULL, hits INTEGER NOT NULL, total INTEGER NOT NULL,
	data BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS builds_by_context ON builds (context);
CREATE TABLE IF NOT EXISTS logs (seq INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS seen (
	key TEXT PRIMARY KEY, text TEXT NOT NULL, made INTEGER NOT NULL, pruned INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS seen_by_text ON seen (text, made);
CREATE INDEX IF NOT EXISTS seen_pruned ON seen (pruned) WHERE pruned > 0;
CREATE TABLE IF NOT EXISTS observed (
	weak TEXT NOT NULL, key TEXT NOT NULL, used INTEGER NOT NULL, PRIMARY KEY (weak, key)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS observed_by_key ON observed (key);
CREATE TABLE IF NOT EXISTS plans (
	name TEXT PRIMARY KEY NOT NULL, used INTEGER NOT NULL, held INTEGER NOT NULL, spread INTEGER NOT NULL,
	records TEXT NOT NULL, configs TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS derived (
	source TEXT NOT NULL, how TEXT NOT NULL, result TEXT NOT NULL, data BLOB, PRIMARY KEY (source, how)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS derived_by_result ON derived (result);
CREATE TABLE IF NOT EXISTS deltas (layer TEXT PRIMARY KEY, base TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS deltas_by_base ON deltas (base);
`

// widened are the tables that had no row ID in stores of an older strata, and their columns.
var widened = []struct{ table, columns string }{
	{"configs", "id, parent, kind, added, used, data"},
	{"manifests", "digest, media_type, id, data"},
	{"records", "key, layer, made, used, data"},
}
