#include "count.h"

#include <ctype.h>

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS words (word TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID";
static const char add[] =
    "INSERT INTO words VALUES (?, 1) ON CONFLICT (word) DO UPDATE SET count = count + 1";
static const char list[] = "SELECT word, count FROM words ORDER BY count DESC, word";

static int add_word(sqlite3_stmt *statement, const char *word, int length) {
	sqlite3_bind_text(statement, 1, word, length, SQLITE_TRANSIENT);
	int code = sqlite3_step(statement);
	sqlite3_reset(statement);
	return code == SQLITE_DONE ? SQLITE_OK : code;
}

int count_words(sqlite3 *db, FILE *in) {
	sqlite3_stmt *statement;
	int code = sqlite3_exec(db, schema, NULL, NULL, NULL);
	if (code != SQLITE_OK || (code = sqlite3_prepare_v2(db, add, -1, &statement, NULL)) != SQLITE_OK) {
		return code;
	}
	char word[128];
	int length = 0;
	int c;
	do {
		c = getc(in);
		if (c != EOF && isalpha(c)) {
			if (length < (int)sizeof word) {
				word[length++] = (char)tolower(c);
			}
		} else if (length > 0) {
			code = add_word(statement, word, length);
			length = 0;
		}
	} while (c != EOF && code == SQLITE_OK);
	sqlite3_finalize(statement);
	return code;
}

int print_words(sqlite3 *db, FILE *out) {
	sqlite3_stmt *statement;
	int code = sqlite3_prepare_v2(db, list, -1, &statement, NULL);
	if (code != SQLITE_OK) {
		return code;
	}
	while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
		fprintf(out, "%6d %s\n", sqlite3_column_int(statement, 1), (const char *)sqlite3_column_text(statement, 0));
	}
	sqlite3_finalize(statement);
	return code == SQLITE_DONE ? SQLITE_OK : code;
}
