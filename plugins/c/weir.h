/* Write plugins for weir in C.
 *
 * A plugin is one value, `weir`, that describes it and names its functions; this
 * file and weir.c turn it into what the contract asks for. A parser:
 *
 *     #include "weir.h"
 *
 *     static void parse(weir_bytes message, weir_rows *rows) {
 *         weir_set_text(rows, 0, message);
 *         weir_set_int(rows, 1, message.len);
 *         weir_end_row(rows);
 *     }
 *
 *     const weir_plugin weir = {
 *         .name = "lines", .version = "0.1.0", .description = "One row for each message.",
 *         .output = "text string, length bigint",
 *         .parse = parse,
 *     };
 *
 * Columns are spelled as in a pipeline file, with the types boolean, bigint,
 * double, string, binary and timestamp; in a plugin `not null` may stand behind a
 * type, where no value may be missing. A column that is not set in a row is null
 * there. Timestamps are microseconds since 1970, in UTC.
 *
 * Compile with -DWEIR_PARSER, -DWEIR_TRANSFORM, -DWEIR_AGGREGATOR or -DWEIR_RULE
 * and the folder of that role on the include path. A plugin that wants whole
 * columns instead of rows can leave weir.c out and implement `wit.h` itself.
 */
#ifndef WEIR_H
#define WEIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that belong to someone else. A text is UTF-8 and does not end with a 0. */
typedef struct {
    const char *ptr;
    size_t len;
} weir_bytes;

/* The rows that come in, the ones that go out, alerts, and the configuration. */
typedef struct weir_batch weir_batch;
typedef struct weir_rows weir_rows;
typedef struct weir_alerts weir_alerts;

/* What `configure` may look at and change. The texts must stay where they are. */
typedef struct {
    weir_bytes config;  /* a JSON object, which the host has checked against the schema */
    const char *input;
    const char *output;
} weir_setup;

/* A plugin. Of the functions, those of its role are given. */
typedef struct {
    const char *name, *version, *description;
    const char *config_schema; /* JSON Schema; anything goes where there is none */

    /* Take the configuration; tell with weir_problem what is wrong. May be missing. */
    void (*configure)(weir_setup *setup);

    const char *input;   /* the columns that are needed, all but parsers */
    const char *output;  /* the columns of the rows, all but rules */
    const char *carried; /* transforms: the input columns that come through, "*" for all that are not in `output` */

    /* Parsers: end the rows of a message, or reject it. */
    void (*parse)(weir_bytes message, weir_rows *rows);
    /* Transforms: end the rows that come of a row, or reject it. */
    void (*apply)(const weir_batch *in, uint32_t row, weir_rows *rows);

    /* Aggregators and rules that remember: a state has so many bytes, which are 0
     * for a group that has seen no row. It is kept as it lies in memory, which is
     * the same everywhere; so it must hold no pointers, and another layout needs
     * another version. */
    size_t state_size;
    uint32_t state_version;
    /* Put an older version in place: those below state_version that are named. */
    uint32_t restorable[8];
    bool (*restore)(void *state, weir_bytes bytes, uint32_t version);

    /* Aggregators: fold a row; fold another state, which comes second; end the row of a group. */
    void (*update)(void *state, const weir_batch *in, uint32_t row);
    void (*merge)(void *state, const void *other);
    void (*evaluate)(const void *state, weir_rows *rows);

    /* Rules: raise alerts for a row. The state is NULL if state_size is 0: then each
     * row is judged alone. */
    void (*judge)(void *state, const weir_batch *in, uint32_t row, weir_alerts *alerts);
} weir_plugin;

/* The plugin; its author defines it. */
extern const weir_plugin weir;

/* What comes in. The column is the place of its name in `input`. The value behind a
 * null is arbitrary. weir_double takes columns of integers, too. */
bool weir_is_null(const weir_batch *in, uint32_t column, uint32_t row);
bool weir_bool(const weir_batch *in, uint32_t column, uint32_t row);
int64_t weir_int(const weir_batch *in, uint32_t column, uint32_t row);
double weir_double(const weir_batch *in, uint32_t column, uint32_t row);
weir_bytes weir_text(const weir_batch *in, uint32_t column, uint32_t row);

/* What goes out. Setting a value twice leaves the second one. */
void weir_set_bool(weir_rows *rows, uint32_t column, bool value);
void weir_set_int(weir_rows *rows, uint32_t column, int64_t value); /* bigint and timestamp */
void weir_set_double(weir_rows *rows, uint32_t column, double value);
void weir_set_text(weir_rows *rows, uint32_t column, weir_bytes value); /* string and binary */
/* Room for at most so many bytes; weir_set_text_len says how many they were. */
char *weir_set_text_room(weir_rows *rows, uint32_t column, size_t len);
void weir_set_text_len(weir_rows *rows, uint32_t column, size_t len);
void weir_set_null(weir_rows *rows, uint32_t column);
void weir_end_row(weir_rows *rows);
/* Forget what is set since the last end of a row. */
void weir_drop_row(weir_rows *rows);

/* Reject the message or row that is worked on; its rows are forgotten. */
void weir_reject(weir_rows *rows, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Reject an element of a message; its rows stay. */
void weir_reject_element(weir_rows *rows, uint32_t element, const char *format, ...) __attribute__((format(printf, 3, 4)));

void weir_alert(weir_alerts *alerts, const char *kind, const char *severity, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The configuration: values of keys of the object, or what they are by default. */
double weir_config_number(const weir_setup *setup, const char *key, double otherwise);
bool weir_config_bool(const weir_setup *setup, const char *key, bool otherwise);
/* A copy that ends with a 0 and stays; without escapes but \" \\ \/ \n \t. */
const char *weir_config_text(const weir_setup *setup, const char *key, const char *otherwise);
void weir_problem(weir_setup *setup, const char *path, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* A text that stays, for `input` and `output`. */
const char *weir_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The host. Levels: 0 debug, 1 info, 2 warn, 3 error. */
void weir_log(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));
void weir_count(const char *counter, uint64_t by);
int64_t weir_now(void);
/* Give up: the host finds the input that is to blame, and this is the reason. */
_Noreturn void weir_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Texts. */
bool weir_parse_timestamp(weir_bytes text, int64_t *micros); /* RFC 3339 */
bool weir_parse_double(weir_bytes text, double *value);      /* a decimal number, all of the text */
bool weir_is_utf8(weir_bytes text);
bool weir_equal(weir_bytes text, const char *other);

#endif
