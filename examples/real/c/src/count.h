#ifndef COUNT_H
#define COUNT_H

#include <sqlite3.h>
#include <stdio.h>

/* Adds the words of a stream to the database; 0, or an error code of SQLite. */
int count_words(sqlite3 *db, FILE *in);

/* Prints words with their counts, the most frequent first. */
int print_words(sqlite3 *db, FILE *out);

#endif
