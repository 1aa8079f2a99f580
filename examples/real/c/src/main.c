/* words DATABASE: counts the words of the standard input, beside those that the database has already. */
#include "count.h"

#include <stdlib.h>

int main(int argc, char **argv) {
	if (argc != 2) {
		fprintf(stderr, "usage: %s DATABASE\n", argv[0]);
		return 2;
	}
	sqlite3 *db;
	int code = sqlite3_open(argv[1], &db);
	if (code == SQLITE_OK) {
		code = count_words(db, stdin);
	}
	if (code == SQLITE_OK) {
		code = print_words(db, stdout);
	}
	if (code != SQLITE_OK) {
		fprintf(stderr, "%s: %s\n", argv[1], sqlite3_errmsg(db));
	}
	sqlite3_close(db);
	return code == SQLITE_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
