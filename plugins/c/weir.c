/* What stands between a plugin in C and the contract. Everything that is returned
 * is from malloc, because the bindings free it when the host has read it. */
#include "weir.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wit.h"

#define COLUMNS_MAX 1000
#define SLOTS_MAX (1u << 24)

/* Not every role needs everything. */
#define SHARED __attribute__((unused)) static

typedef weir_plugin_columns_data_type_t data_type;
#define TYPE(name) WEIR_PLUGIN_COLUMNS_DATA_TYPE_##name

/* Memory and texts --------------------------------------------------------- */

static void *grow(void *from, size_t bytes) {
    void *to = realloc(from, bytes ? bytes : 1);
    if (!to) weir_fail("out of memory: %zu bytes more", bytes);
    return to;
}

static char *format_text(const char *format, va_list arguments, size_t *len) {
    va_list again;
    va_copy(again, arguments);
    int need = vsnprintf(NULL, 0, format, again);
    va_end(again);
    char *text = grow(NULL, (size_t)need + 1);
    vsnprintf(text, (size_t)need + 1, format, arguments);
    if (len) *len = (size_t)need;
    return text;
}

#define FORMAT(text, len)                         \
    va_list arguments;                            \
    va_start(arguments, format);                  \
    size_t len;                                   \
    char *text = format_text(format, arguments, &len); \
    va_end(arguments)

static wit_string_t owned(const char *text, size_t len) {
    if (len == 0) return (wit_string_t){NULL, 0};
    return (wit_string_t){memcpy(grow(NULL, len), text, len), len};
}

static wit_string_t adopted(char *text, size_t len) {
    if (len > 0) return (wit_string_t){(uint8_t *)text, len};
    free(text);
    return (wit_string_t){NULL, 0};
}

const char *weir_format(const char *format, ...) {
    FORMAT(text, len);
    (void)len;
    return text;
}

/* Most texts are short, and a copy by the engine has a price of its own. */
static void copy(uint8_t *to, const char *from, size_t len) {
    if (len > 64) memcpy(to, from, len);
    else if (len >= 16) {
        for (size_t at = 0; at + 16 < len; at += 16) __builtin_memcpy(to + at, from + at, 16);
        __builtin_memcpy(to + len - 16, from + len - 16, 16);
    } else if (len >= 8) {
        uint64_t first, last;
        __builtin_memcpy(&first, from, 8), __builtin_memcpy(&last, from + len - 8, 8);
        __builtin_memcpy(to, &first, 8), __builtin_memcpy(to + len - 8, &last, 8);
    } else if (len >= 4) {
        uint32_t first, last;
        __builtin_memcpy(&first, from, 4), __builtin_memcpy(&last, from + len - 4, 4);
        __builtin_memcpy(to, &first, 4), __builtin_memcpy(to + len - 4, &last, 4);
    } else if (len) {
        to[0] = (uint8_t)from[0], to[len / 2] = (uint8_t)from[len / 2], to[len - 1] = (uint8_t)from[len - 1];
    }
}

bool weir_equal(weir_bytes text, const char *other) {
    return strlen(other) == text.len && memcmp(text.ptr, other, text.len) == 0;
}

/* The host ----------------------------------------------------------------- */

static void log_text(int level, char *text, size_t len) {
    wit_string_t line = {(uint8_t *)text, len};
    weir_plugin_host_log((weir_plugin_host_level_t)level, &line);
    free(text);
}

void weir_log(int level, const char *format, ...) {
    FORMAT(text, len);
    log_text(level, text, len);
}

void weir_fail(const char *format, ...) {
    FORMAT(text, len);
    log_text(WEIR_PLUGIN_HOST_LEVEL_ERROR, text, len);
    __builtin_trap();
}

void weir_count(const char *counter, uint64_t by) {
    wit_string_t name = {(uint8_t *)counter, strlen(counter)};
    weir_plugin_host_count(&name, by);
}

int64_t weir_now(void) { return weir_plugin_host_now(); }

void exports_weir_plugin_plugin_describe(exports_weir_plugin_plugin_manifest_t *ret) {
    const char *schema = weir.config_schema ? weir.config_schema : "{}";
    ret->name = owned(weir.name, strlen(weir.name));
    ret->version = owned(weir.version, strlen(weir.version));
    ret->description = owned(weir.description, strlen(weir.description));
    ret->config_schema = owned(schema, strlen(schema));
}

/* What is wrong with the configuration ------------------------------------- */

static struct {
    weir_plugin_columns_problem_t *ptr;
    size_t len;
} problems;

static void add_problem(const char *path, char *text, size_t len) {
    problems.ptr = grow(problems.ptr, (problems.len + 1) * sizeof *problems.ptr);
    problems.ptr[problems.len].path = owned(path, strlen(path));
    problems.ptr[problems.len++].message = adopted(text, len);
}

void weir_problem(weir_setup *setup, const char *path, const char *format, ...) {
    (void)setup;
    FORMAT(text, len);
    add_problem(path, text, len);
}

static void problem(const char *format, ...) {
    FORMAT(text, len);
    add_problem("", text, len);
}

/* Columns as they are spelled ---------------------------------------------- */

typedef struct {
    const char *name;
    size_t name_len;
    data_type type;
    bool nullable;
} spelled;

static struct {
    spelled input[COLUMNS_MAX], output[COLUMNS_MAX];
    uint32_t inputs, outputs;
} columns;

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

/* The length without the blanks at the end. */
static size_t trimmed(const char *text, size_t len) {
    while (len && is_blank(text[len - 1])) len--;
    return len;
}

/* Whether a text ends with a word behind others, which are left. */
static bool ends_with(const char *text, size_t *len, const char *word) {
    size_t n = strlen(word);
    if (*len <= n || memcmp(text + *len - n, word, n) != 0 || !is_blank(text[*len - n - 1])) return false;
    *len = trimmed(text, *len - n);
    return true;
}

static const struct {
    const char *name;
    data_type type;
} TYPES[] = {{"boolean", TYPE(BOOLEAN)}, {"bigint", TYPE(INT64)},  {"double", TYPE(FLOAT64)},
             {"string", TYPE(UTF8)},     {"binary", TYPE(BINARY)}, {"timestamp", TYPE(TIMESTAMP)}};

static const char *type_name(data_type type) {
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++)
        if (TYPES[i].type == type) return TYPES[i].name;
    return type == TYPE(LIST) ? "array" : "struct";
}

static uint32_t spell(const char *text, spelled *to) {
    uint32_t count = 0;
    for (const char *at = text ? text : ""; *at;) {
        size_t len = strcspn(at, ",");
        const char *part = at, *next = at + len + (at[len] == ',');
        while (len && is_blank(*part)) part++, len--;
        len = trimmed(part, len);
        at = next;
        if (len == 0) continue;
        if (count == COLUMNS_MAX) weir_fail("more than %d columns", COLUMNS_MAX);
        size_t whole = len, rest = len;
        bool nullable = !(ends_with(part, &rest, "null") && ends_with(part, &rest, "not"));
        if (!nullable) len = rest;
        bool known = false;
        for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES && !known; i++)
            if ((known = ends_with(part, &len, TYPES[i].name) && len > 0)) to[count].type = TYPES[i].type;
        if (!known) {
            problem("`%.*s` is no column: write a name and one of boolean, bigint, double, string, binary and timestamp",
                    (int)whole, part);
            continue;
        }
        to[count].name = part, to[count].name_len = len, to[count].nullable = nullable;
        count++;
    }
    return count;
}

SHARED weir_plugin_columns_schema_t schema_of(const spelled *from, uint32_t count) {
    weir_plugin_columns_schema_t schema = {{NULL, count}};
    if (count) schema.fields.ptr = grow(NULL, count * sizeof *schema.fields.ptr);
    for (uint32_t i = 0; i < count; i++) {
        weir_plugin_columns_field_t *field = &schema.fields.ptr[i];
        *field = (weir_plugin_columns_field_t){owned(from[i].name, from[i].name_len), from[i].type, from[i].nullable, 0};
    }
    return schema;
}

SHARED wit_list_string_t names_of(const spelled *from, uint32_t count) {
    wit_list_string_t names = {NULL, count};
    if (count) names.ptr = grow(NULL, count * sizeof *names.ptr);
    for (uint32_t i = 0; i < count; i++) names.ptr[i] = owned(from[i].name, from[i].name_len);
    return names;
}

/* Configuration ------------------------------------------------------------ */

static weir_setup setup_of(wit_string_t *config) {
    weir_setup setup = {{(const char *)config->ptr, config->len}, weir.input, weir.output};
    if (weir.configure) weir.configure(&setup);
    columns.inputs = spell(setup.input, columns.input);
    columns.outputs = spell(setup.output, columns.output);
    return setup;
}

/* The value of a key, as it stands in the text; the host has checked the JSON. */
static weir_bytes value_of(weir_bytes json, const char *key) {
    int depth = 0;
    const char *at = json.ptr, *end = json.ptr + json.len;
    bool is_key = true;
    while (at < end) {
        char c = *at;
        if (c == '"') {
            const char *text = ++at;
            while (at < end && *at != '"') at += *at == '\\' ? 2 : 1;
            bool found = is_key && depth == 1 && weir_equal((weir_bytes){text, (size_t)(at - text)}, key);
            at++;
            if (!found) continue;
            while (at < end && (*at == ':' || *at == ' ' || *at == '\n')) at++;
            const char *value = at;
            for (depth = 0; at < end; at++) {
                if (*at == '"')
                    for (at++; at < end && *at != '"'; at++) at += *at == '\\';
                else if (*at == '{' || *at == '[')
                    depth++;
                else if ((*at == '}' || *at == ']' || *at == ',') && depth == 0)
                    break;
                else if (*at == '}' || *at == ']')
                    depth--;
            }
            while (at > value && (at[-1] == ' ' || at[-1] == '\n')) at--;
            return (weir_bytes){value, (size_t)(at - value)};
        }
        if (c == '{' || c == '[') depth++;
        if (c == '}' || c == ']') depth--;
        if (c == ':') is_key = false;
        if (c == ',') is_key = true;
        at++;
    }
    return (weir_bytes){NULL, 0};
}

double weir_config_number(const weir_setup *setup, const char *key, double otherwise) {
    double value;
    return weir_parse_double(value_of(setup->config, key), &value) ? value : otherwise;
}

bool weir_config_bool(const weir_setup *setup, const char *key, bool otherwise) {
    weir_bytes value = value_of(setup->config, key);
    return value.ptr ? weir_equal(value, "true") : otherwise;
}

const char *weir_config_text(const weir_setup *setup, const char *key, const char *otherwise) {
    weir_bytes value = value_of(setup->config, key);
    if (value.len < 2 || *value.ptr != '"') return otherwise;
    char *text = grow(NULL, value.len), *to = text;
    for (const char *at = value.ptr + 1; at < value.ptr + value.len - 1; at++) {
        if (*at == '\\') at++, *to++ = *at == 'n' ? '\n' : *at == 't' ? '\t' : *at;
        else *to++ = *at;
    }
    *to = 0;
    return text;
}

/* Columns that come in ----------------------------------------------------- */

struct weir_batch {
    weir_plugin_columns_column_t *columns;
};

static bool bit(const uint8_t *bits, uint32_t index) { return bits[index / 8] >> (index % 8) & 1; }

bool weir_is_null(const weir_batch *in, uint32_t column, uint32_t row) {
    const wit_option_list_u8_t *validity = &in->columns[column].validity;
    return validity->is_some && !bit(validity->val.ptr, row);
}

bool weir_bool(const weir_batch *in, uint32_t column, uint32_t row) {
    return bit(in->columns[column].values.val.boolean.ptr, row);
}

int64_t weir_int(const weir_batch *in, uint32_t column, uint32_t row) {
    return in->columns[column].values.val.int64.ptr[row];
}

double weir_double(const weir_batch *in, uint32_t column, uint32_t row) {
    const weir_plugin_columns_values_t *values = &in->columns[column].values;
    if (values->tag == WEIR_PLUGIN_COLUMNS_VALUES_INT64) return (double)values->val.int64.ptr[row];
    return values->val.float64.ptr[row];
}

static weir_bytes bytes_at(const weir_plugin_columns_var_bytes_t *from, uint32_t index) {
    int32_t start = from->offsets.ptr[index], end = from->offsets.ptr[index + 1];
    return (weir_bytes){(const char *)from->data.ptr + start, (size_t)(end - start)};
}

weir_bytes weir_text(const weir_batch *in, uint32_t column, uint32_t row) {
    return bytes_at(&in->columns[column].values.val.utf8, row);
}

/* Whether the plugin has a member that its role needs. */
SHARED void need(bool is_there, const char *member) {
    if (!is_there) problem("the plugin has no `.%s`", member);
}

/* Whether the rows have what the plugin needs; problems say what is missing. */
SHARED void check_input(const weir_plugin_columns_schema_t *input) {
    for (uint32_t i = 0; i < columns.inputs; i++) {
        const spelled *need = &columns.input[i];
        const weir_plugin_columns_field_t *found = NULL;
        uint32_t inside = 0;
        for (size_t j = 0; j < input->fields.len && !found; j++) {
            const weir_plugin_columns_field_t *field = &input->fields.ptr[j];
            weir_bytes name = {(const char *)field->name.ptr, field->name.len};
            if (inside) inside--;
            else if (name.len == need->name_len && memcmp(name.ptr, need->name, name.len) == 0) found = field;
            inside += field->children;
        }
        if (!found) {
            problem("it needs a column `%.*s %s`, which the rows do not have", (int)need->name_len, need->name,
                    type_name(need->type));
        } else if (found->data_type != need->type &&
                   !(found->data_type == TYPE(INT64) && need->type == TYPE(FLOAT64))) {
            problem("it needs `%.*s` as %s, not as %s", (int)need->name_len, need->name, type_name(need->type),
                    type_name(found->data_type));
        }
    }
}

/* Rows that go out --------------------------------------------------------- */

typedef struct {
    data_type type;
    bool nullable;
    uint32_t len, room;
    uint8_t *validity; /* none as long as there are no nulls */
    union {
        void *any;
        uint8_t *bits;
        int64_t *ints;
        double *doubles;
        int32_t *offsets;
    } values;
    uint8_t *data;
    size_t data_room;
} builder;

struct weir_rows {
    builder columns[COLUMNS_MAX];
    uint32_t count, len;
    uint32_t *origins;
    size_t origins_room;
    weir_plugin_columns_rejection_t *rejected;
    size_t rejections, rejections_room;
    uint32_t input, mark;
    size_t rejections_mark;
    bool is_rejected;
};

/* One chunk is worked on at a time. */
SHARED struct weir_rows out;

static void set_bit(uint8_t *bits, uint32_t index, bool value) {
    uint8_t one = (uint8_t)(1 << index % 8);
    bits[index / 8] = value ? bits[index / 8] | one : bits[index / 8] & (uint8_t)~one;
}

static bool is_bytes(data_type type) { return type == TYPE(UTF8) || type == TYPE(BINARY); }

static void make_room(builder *column) {
    uint32_t room = column->room ? column->room * 2 : 1024;
    size_t bytes = column->type == TYPE(BOOLEAN) ? room / 8 : is_bytes(column->type) ? (room + 1) * 4ul : room * 8ul;
    column->values.any = grow(column->values.any, bytes);
    if (column->validity) column->validity = grow(column->validity, room / 8);
    column->room = room;
}

/* The place of the value of this row, which is set from now on. */
static uint32_t place(weir_rows *rows, uint32_t index, builder **column) {
    if (index >= rows->count) weir_fail("there is no column %u, the rows have %u", index, rows->count);
    builder *to = *column = &rows->columns[index];
    uint32_t at = rows->len;
    if (to->len == at) {
        if (at == to->room) make_room(to);
        to->len++;
    }
    if (to->validity) set_bit(to->validity, at, true);
    return at;
}

static void misfit(const builder *column, uint32_t index, const char *what) {
    const spelled *name = &columns.output[index];
    weir_fail("column %.*s is %s, not %s", (int)name->name_len, name->name, type_name(column->type), what);
}

void weir_set_bool(weir_rows *rows, uint32_t index, bool value) {
    builder *column;
    uint32_t at = place(rows, index, &column);
    if (column->type != TYPE(BOOLEAN)) misfit(column, index, "boolean");
    set_bit(column->values.bits, at, value);
}

void weir_set_int(weir_rows *rows, uint32_t index, int64_t value) {
    builder *column;
    uint32_t at = place(rows, index, &column);
    if (column->type != TYPE(INT64) && column->type != TYPE(TIMESTAMP)) misfit(column, index, "bigint");
    column->values.ints[at] = value;
}

void weir_set_double(weir_rows *rows, uint32_t index, double value) {
    builder *column;
    uint32_t at = place(rows, index, &column);
    if (column->type != TYPE(FLOAT64)) misfit(column, index, "double");
    column->values.doubles[at] = value;
}

char *weir_set_text_room(weir_rows *rows, uint32_t index, size_t len) {
    builder *column;
    uint32_t at = place(rows, index, &column);
    if (!is_bytes(column->type)) misfit(column, index, "string");
    if (at == 0) column->values.offsets[0] = 0;
    size_t start = (size_t)column->values.offsets[at], end = start + len;
    if (end > INT32_MAX) weir_fail("a column of more than 2 GiB");
    if (end > column->data_room) {
        column->data_room = end * 2 > 4096 ? end * 2 : 4096;
        column->data = grow(column->data, column->data_room);
    }
    column->values.offsets[at + 1] = (int32_t)end;
    return (char *)column->data + start;
}

void weir_set_text_len(weir_rows *rows, uint32_t index, size_t len) {
    int32_t *offsets = rows->columns[index].values.offsets + rows->len;
    offsets[1] = offsets[0] + (int32_t)len;
}

void weir_set_text(weir_rows *rows, uint32_t index, weir_bytes value) {
    copy((uint8_t *)weir_set_text_room(rows, index, value.len), value.ptr, value.len);
}

void weir_set_null(weir_rows *rows, uint32_t index) {
    builder *column;
    uint32_t at = place(rows, index, &column);
    if (!column->nullable) {
        const spelled *name = &columns.output[index];
        weir_fail("column %.*s has no value", (int)name->name_len, name->name);
    }
    if (!column->validity) {
        column->validity = grow(NULL, column->room / 8);
        memset(column->validity, 0xff, column->room / 8);
    }
    set_bit(column->validity, at, false);
    if (column->type == TYPE(BOOLEAN)) set_bit(column->values.bits, at, false);
    else if (is_bytes(column->type)) {
        if (at == 0) column->values.offsets[0] = 0;
        column->values.offsets[at + 1] = column->values.offsets[at];
    } else column->values.ints[at] = 0;
}

void weir_end_row(weir_rows *rows) {
    for (uint32_t i = 0; i < rows->count; i++)
        if (rows->columns[i].len == rows->len) weir_set_null(rows, i);
    if (rows->len == rows->origins_room) {
        rows->origins_room = rows->origins_room ? rows->origins_room * 2 : 1024;
        rows->origins = grow(rows->origins, rows->origins_room * sizeof *rows->origins);
    }
    rows->origins[rows->len++] = rows->input;
}

static void truncate_rows(weir_rows *rows, uint32_t len) {
    rows->len = len;
    for (uint32_t i = 0; i < rows->count; i++) rows->columns[i].len = len;
}

void weir_drop_row(weir_rows *rows) { truncate_rows(rows, rows->len); }

static void add_rejection(weir_rows *rows, wit_option_u32_t element, char *text, size_t len) {
    if (rows->rejections == rows->rejections_room) {
        rows->rejections_room = rows->rejections_room ? rows->rejections_room * 2 : 16;
        rows->rejected = grow(rows->rejected, rows->rejections_room * sizeof *rows->rejected);
    }
    weir_plugin_columns_rejection_t *to = &rows->rejected[rows->rejections++];
    *to = (weir_plugin_columns_rejection_t){rows->input, element, {false, {0, 0}}, adopted(text, len)};
}

void weir_reject(weir_rows *rows, const char *format, ...) {
    if (rows->is_rejected) return;
    rows->is_rejected = true;
    while (rows->rejections > rows->rejections_mark) {
        wit_string_t *reason = &rows->rejected[--rows->rejections].reason;
        if (reason->len) free(reason->ptr);
    }
    FORMAT(text, len);
    add_rejection(rows, (wit_option_u32_t){false, 0}, text, len);
}

void weir_reject_element(weir_rows *rows, uint32_t element, const char *format, ...) {
    if (rows->is_rejected) return;
    FORMAT(text, len);
    add_rejection(rows, (wit_option_u32_t){true, element}, text, len);
}

SHARED void begin(weir_rows *rows) {
    rows->count = columns.outputs;
    rows->len = rows->input = 0;
    rows->origins = NULL, rows->origins_room = 0;
    rows->rejected = NULL, rows->rejections = rows->rejections_room = 0;
    for (uint32_t i = 0; i < rows->count; i++) {
        /* Chunks are alike: as much room as the last one needed. */
        uint32_t room = rows->columns[i].room;
        size_t data_room = rows->columns[i].data_room;
        rows->columns[i] = (builder){.type = columns.output[i].type, .nullable = columns.output[i].nullable};
        rows->columns[i].room = room / 2;
        make_room(&rows->columns[i]);
        if (data_room) rows->columns[i].data = grow(NULL, rows->columns[i].data_room = data_room);
    }
}

SHARED void begin_input(weir_rows *rows, uint32_t input) {
    rows->input = input;
    rows->mark = rows->len;
    rows->rejections_mark = rows->rejections;
    rows->is_rejected = false;
}

SHARED void end_input(weir_rows *rows) {
    /* A row that was begun and not ended is forgotten, too. */
    truncate_rows(rows, rows->is_rejected ? rows->mark : rows->len);
}

static void *kept(void *ptr, size_t len) {
    if (len > 0) return ptr;
    free(ptr);
    return NULL;
}

static weir_plugin_columns_column_t finished(builder *from) {
    weir_plugin_columns_column_t to;
    memset(&to, 0, sizeof to);
    size_t bits = (from->len + 7) / 8;
    if (from->validity && bits > 0) to.validity.is_some = true, to.validity.val = (wit_list_u8_t){from->validity, bits};
    else free(from->validity);
    to.values.tag = from->type;
    if (is_bytes(from->type)) {
        if (from->len == 0) from->values.offsets[0] = 0;
        size_t data = (size_t)from->values.offsets[from->len];
        to.values.val.utf8.offsets = (wit_list_s32_t){from->values.offsets, from->len + 1u};
        to.values.val.utf8.data = (wit_list_u8_t){kept(from->data, data), data};
    } else if (from->type == TYPE(BOOLEAN)) {
        to.values.val.boolean = (wit_list_u8_t){kept(from->values.bits, bits), bits};
    } else {
        to.values.val.int64 = (wit_list_s64_t){kept(from->values.any, from->len), from->len};
    }
    return to;
}

SHARED weir_plugin_columns_batch_t batch_of(weir_rows *rows) {
    weir_plugin_columns_batch_t batch = {rows->len, {NULL, rows->count}};
    if (rows->count) batch.columns.ptr = grow(NULL, rows->count * sizeof *batch.columns.ptr);
    for (uint32_t i = 0; i < rows->count; i++) batch.columns.ptr[i] = finished(&rows->columns[i]);
    return batch;
}

/* The roles ---------------------------------------------------------------- */

#ifdef WEIR_PARSER
bool exports_weir_plugin_parser_configure(wit_string_t *config, exports_weir_plugin_parser_schema_t *maybe_stored,
                                          exports_weir_plugin_parser_parser_info_t *ret,
                                          exports_weir_plugin_parser_list_problem_t *err) {
    (void)maybe_stored;
    setup_of(config);
    need(weir.parse, "parse");
    *err = (exports_weir_plugin_parser_list_problem_t){problems.ptr, problems.len};
    if (problems.len) return false;
    ret->output = schema_of(columns.output, columns.outputs);
    ret->message_fields = (wit_list_string_t){NULL, 0};
    return true;
}

bool exports_weir_plugin_parser_parse(exports_weir_plugin_parser_messages_t *chunk,
                                      exports_weir_plugin_parser_parsed_t *ret, exports_weir_plugin_parser_error_t *err) {
    (void)err;
    begin(&out);
    for (uint32_t i = 0; i < chunk->fields.rows; i++) {
        begin_input(&out, i);
        weir.parse(bytes_at(&chunk->payload, i), &out);
        end_input(&out);
    }
    ret->rows = batch_of(&out);
    ret->origins = (wit_list_u32_t){kept(out.origins, out.len), out.len};
    ret->rejected = (exports_weir_plugin_parser_list_rejection_t){kept(out.rejected, out.rejections), out.rejections};
    exports_weir_plugin_parser_messages_free(chunk);
    return true;
}
#endif

#ifdef WEIR_TRANSFORM
static bool in_output(const wit_string_t *name) {
    for (uint32_t i = 0; i < columns.outputs; i++)
        if (columns.output[i].name_len == name->len && memcmp(columns.output[i].name, name->ptr, name->len) == 0)
            return true;
    return false;
}

static wit_list_string_t carried_of(const weir_plugin_columns_schema_t *input) {
    wit_list_string_t names = {NULL, 0};
    const char *at = weir.carried ? weir.carried : "*";
    bool all = strcmp(at, "*") == 0;
    uint32_t inside = 0;
    for (size_t j = 0; all && j < input->fields.len; j++) {
        const weir_plugin_columns_field_t *field = &input->fields.ptr[j];
        bool top = inside == 0;
        inside += field->children - (top ? 0 : 1);
        if (!top || in_output(&field->name)) continue;
        names.ptr = grow(names.ptr, (names.len + 1) * sizeof *names.ptr);
        names.ptr[names.len++] = owned((const char *)field->name.ptr, field->name.len);
    }
    while (!all && *at) {
        while (*at == ',' || is_blank(*at)) at++;
        size_t len = strcspn(at, ",");
        if (len == 0) break;
        names.ptr = grow(names.ptr, (names.len + 1) * sizeof *names.ptr);
        names.ptr[names.len++] = owned(at, trimmed(at, len));
        at += len;
    }
    return names;
}

bool exports_weir_plugin_transform_configure(wit_string_t *config, exports_weir_plugin_transform_schema_t *input,
                                             exports_weir_plugin_transform_transform_info_t *ret,
                                             exports_weir_plugin_transform_list_problem_t *err) {
    setup_of(config);
    need(weir.apply, "apply");
    check_input(input);
    *err = (exports_weir_plugin_transform_list_problem_t){problems.ptr, problems.len};
    if (problems.len) return false;
    ret->columns = names_of(columns.input, columns.inputs);
    ret->output = schema_of(columns.output, columns.outputs);
    ret->carried = carried_of(input);
    return true;
}

bool exports_weir_plugin_transform_apply(exports_weir_plugin_transform_batch_t *rows,
                                         exports_weir_plugin_transform_transformed_t *ret,
                                         exports_weir_plugin_transform_error_t *err) {
    (void)err;
    weir_batch in = {rows->columns.ptr};
    begin(&out);
    for (uint32_t i = 0; i < rows->rows; i++) {
        begin_input(&out, i);
        weir.apply(&in, i, &out);
        end_input(&out);
    }
    ret->rows = batch_of(&out);
    ret->origins = (wit_list_u32_t){kept(out.origins, out.len), out.len};
    ret->rejected = (exports_weir_plugin_transform_list_rejection_t){kept(out.rejected, out.rejections), out.rejections};
    exports_weir_plugin_transform_batch_free(rows);
    return true;
}
#endif

#if defined(WEIR_AGGREGATOR) || defined(WEIR_RULE)
/* The states of groups by slot: the host hands out dense numbers. */
static struct {
    uint8_t *ptr;
    uint32_t len;
} states;

static void *state_of(uint32_t slot) {
    if (slot >= SLOTS_MAX) weir_fail("slot %u is beyond the %u that an instance holds", slot, SLOTS_MAX);
    if (slot >= states.len) {
        uint32_t len = slot + 1 > states.len * 2 ? slot + 1 : states.len * 2;
        states.ptr = grow(states.ptr, len * weir.state_size);
        memset(states.ptr + states.len * weir.state_size, 0, (len - states.len) * weir.state_size);
        states.len = len;
    }
    return states.ptr + slot * weir.state_size;
}

static void release_states(const wit_list_u32_t *groups) {
    for (size_t i = 0; i < groups->len; i++)
        if (groups->ptr[i] < states.len) memset(state_of(groups->ptr[i]), 0, weir.state_size);
}

static weir_plugin_columns_var_bytes_t snapshot_states(const wit_list_u32_t *groups) {
    size_t data = groups->len * weir.state_size;
    weir_plugin_columns_var_bytes_t to = {{grow(NULL, (groups->len + 1) * 4), groups->len + 1}, {NULL, data}};
    if (data) to.data.ptr = grow(NULL, data);
    to.offsets.ptr[0] = 0;
    for (size_t i = 0; i < groups->len; i++) {
        memcpy(to.data.ptr + i * weir.state_size, state_of(groups->ptr[i]), weir.state_size);
        to.offsets.ptr[i + 1] = (int32_t)((i + 1) * weir.state_size);
    }
    return to;
}

/* Whether all states are restored; else what is wrong. */
static bool restore_states(const wit_list_u32_t *groups, const weir_plugin_columns_var_bytes_t *from, uint32_t version,
                           weir_plugin_columns_error_t *err) {
    for (size_t i = 0; i < groups->len; i++) {
        weir_bytes bytes = bytes_at(from, (uint32_t)i);
        void *state = state_of(groups->ptr[i]);
        bool is_own = version == weir.state_version && bytes.len == weir.state_size;
        if (is_own) memcpy(state, bytes.ptr, bytes.len);
        else if (version == weir.state_version || !weir.restore || !weir.restore(state, bytes, version)) {
            size_t len;
            char *text = (char *)weir_format("the state of group %zu is malformed: %zu bytes in version %u", i, bytes.len, version);
            len = strlen(text);
            err->message = adopted(text, len);
            return false;
        }
    }
    return true;
}

static wit_list_u32_t restorable_versions(void) {
    wit_list_u32_t to = {grow(NULL, 9 * sizeof *to.ptr), 1};
    to.ptr[0] = weir.state_version;
    for (size_t i = 0; i < 8; i++)
        if (weir.restore && weir.restorable[i] && weir.restorable[i] != weir.state_version) to.ptr[to.len++] = weir.restorable[i];
    return to;
}
#endif

#ifdef WEIR_AGGREGATOR
bool exports_weir_plugin_aggregator_configure(wit_string_t *config, exports_weir_plugin_aggregator_schema_t *input,
                                              exports_weir_plugin_aggregator_aggregator_info_t *ret,
                                              exports_weir_plugin_aggregator_list_problem_t *err) {
    setup_of(config);
    need(weir.update, "update");
    need(weir.merge, "merge");
    need(weir.evaluate, "evaluate");
    need(weir.state_size, "state_size");
    check_input(input);
    *err = (exports_weir_plugin_aggregator_list_problem_t){problems.ptr, problems.len};
    if (problems.len) return false;
    ret->columns = names_of(columns.input, columns.inputs);
    ret->output = schema_of(columns.output, columns.outputs);
    ret->state_version = weir.state_version;
    ret->restorable = restorable_versions();
    return true;
}

bool exports_weir_plugin_aggregator_update(wit_list_u32_t *groups, exports_weir_plugin_aggregator_batch_t *rows,
                                           exports_weir_plugin_aggregator_error_t *err) {
    (void)err;
    weir_batch in = {rows->columns.ptr};
    for (uint32_t i = 0; i < rows->rows; i++) weir.update(state_of(groups->ptr[i]), &in, i);
    wit_list_u32_free(groups);
    exports_weir_plugin_aggregator_batch_free(rows);
    return true;
}

bool exports_weir_plugin_aggregator_merge(wit_list_u32_t *into, wit_list_u32_t *sources,
                                          exports_weir_plugin_aggregator_error_t *err) {
    (void)err;
    for (size_t i = 0; i < into->len; i++) {
        state_of(into->ptr[i]), state_of(sources->ptr[i]); /* both are there before either is pointed at */
        weir.merge(state_of(into->ptr[i]), state_of(sources->ptr[i]));
    }
    wit_list_u32_free(into);
    wit_list_u32_free(sources);
    return true;
}

bool exports_weir_plugin_aggregator_evaluate(wit_list_u32_t *groups, exports_weir_plugin_aggregator_batch_t *ret,
                                             exports_weir_plugin_aggregator_error_t *err) {
    (void)err;
    begin(&out);
    for (uint32_t i = 0; i < groups->len; i++) {
        weir.evaluate(state_of(groups->ptr[i]), &out);
        if (out.len != i + 1) weir_fail("evaluate has ended %u rows for %u groups", out.len, i + 1);
    }
    *ret = batch_of(&out);
    free(out.origins);
    wit_list_u32_free(groups);
    return true;
}

void exports_weir_plugin_aggregator_release(wit_list_u32_t *groups) {
    release_states(groups);
    wit_list_u32_free(groups);
}

bool exports_weir_plugin_aggregator_snapshot(wit_list_u32_t *groups, exports_weir_plugin_aggregator_var_bytes_t *ret,
                                             exports_weir_plugin_aggregator_error_t *err) {
    (void)err;
    *ret = snapshot_states(groups);
    wit_list_u32_free(groups);
    return true;
}

bool exports_weir_plugin_aggregator_restore(wit_list_u32_t *groups, exports_weir_plugin_aggregator_var_bytes_t *from,
                                            uint32_t version, exports_weir_plugin_aggregator_error_t *err) {
    bool done = restore_states(groups, from, version, err);
    wit_list_u32_free(groups);
    exports_weir_plugin_aggregator_var_bytes_free(from);
    return done;
}
#endif

#ifdef WEIR_RULE
struct weir_alerts {
    uint32_t row, *rows;
    size_t len, room;
    struct {
        int32_t *offsets;
        uint8_t *data;
        size_t len, room;
    } texts[3];
};

static struct weir_alerts raised;

static void append(size_t which, const char *text, size_t len) {
    size_t end = raised.texts[which].len + len;
    if (end > raised.texts[which].room)
        raised.texts[which].data = grow(raised.texts[which].data, raised.texts[which].room = end * 2);
    memcpy(raised.texts[which].data + raised.texts[which].len, text, len);
    raised.texts[which].offsets[raised.len + 1] = (int32_t)(raised.texts[which].len = end);
}

void weir_alert(weir_alerts *alerts, const char *kind, const char *severity, const char *format, ...) {
    if (alerts->len == alerts->room) {
        alerts->room = alerts->room * 2 + 16;
        alerts->rows = grow(alerts->rows, alerts->room * sizeof *alerts->rows);
        for (size_t i = 0; i < 3; i++)
            alerts->texts[i].offsets = grow(alerts->texts[i].offsets, (alerts->room + 1) * 4);
    }
    FORMAT(text, len);
    append(0, kind, strlen(kind));
    append(1, severity, strlen(severity));
    append(2, text, len);
    free(text);
    alerts->rows[alerts->len++] = alerts->row;
}

bool exports_weir_plugin_rule_configure(wit_string_t *config, exports_weir_plugin_rule_schema_t *input,
                                        exports_weir_plugin_rule_rule_info_t *ret,
                                        exports_weir_plugin_rule_list_problem_t *err) {
    setup_of(config);
    need(weir.judge, "judge");
    /* Who gives a version of the state has one. */
    need(weir.state_size || !(weir.state_version || weir.restore), "state_size");
    check_input(input);
    *err = (exports_weir_plugin_rule_list_problem_t){problems.ptr, problems.len};
    if (problems.len) return false;
    ret->columns = names_of(columns.input, columns.inputs);
    ret->memory = weir.state_size ? EXPORTS_WEIR_PLUGIN_RULE_MEMORY_KEYED : EXPORTS_WEIR_PLUGIN_RULE_MEMORY_STATELESS;
    ret->state_version = weir.state_version;
    ret->restorable = restorable_versions();
    return true;
}

bool exports_weir_plugin_rule_evaluate(wit_list_u32_t *groups, exports_weir_plugin_rule_batch_t *rows,
                                       exports_weir_plugin_rule_alerts_t *ret, exports_weir_plugin_rule_error_t *err) {
    (void)err;
    weir_batch in = {rows->columns.ptr};
    memset(&raised, 0, sizeof raised);
    for (size_t i = 0; i < 3; i++) *(raised.texts[i].offsets = grow(NULL, 4)) = 0;
    for (uint32_t i = 0; i < rows->rows; i++) {
        raised.row = i;
        weir.judge(weir.state_size ? state_of(groups->ptr[i]) : NULL, &in, i, &raised);
    }
    ret->rows = (wit_list_u32_t){kept(raised.rows, raised.len), raised.len};
    exports_weir_plugin_rule_var_bytes_t *texts[] = {&ret->kind, &ret->severity, &ret->message};
    for (size_t i = 0; i < 3; i++) {
        texts[i]->offsets = (wit_list_s32_t){raised.texts[i].offsets, raised.len + 1};
        texts[i]->data = (wit_list_u8_t){kept(raised.texts[i].data, raised.texts[i].len), raised.texts[i].len};
    }
    wit_list_u32_free(groups);
    exports_weir_plugin_rule_batch_free(rows);
    return true;
}

void exports_weir_plugin_rule_release(wit_list_u32_t *groups) {
    release_states(groups);
    wit_list_u32_free(groups);
}

bool exports_weir_plugin_rule_snapshot(wit_list_u32_t *groups, exports_weir_plugin_rule_var_bytes_t *ret,
                                       exports_weir_plugin_rule_error_t *err) {
    (void)err;
    *ret = snapshot_states(groups);
    wit_list_u32_free(groups);
    return true;
}

bool exports_weir_plugin_rule_restore(wit_list_u32_t *groups, exports_weir_plugin_rule_var_bytes_t *from,
                                      uint32_t version, exports_weir_plugin_rule_error_t *err) {
    bool done = restore_states(groups, from, version, err);
    wit_list_u32_free(groups);
    exports_weir_plugin_rule_var_bytes_free(from);
    return done;
}
#endif

/* Texts of values ---------------------------------------------------------- */

static bool two(const char *at, int *value) {
    unsigned tens = (unsigned)at[0] - '0', ones = (unsigned)at[1] - '0';
    *value = (int)(tens * 10 + ones);
    return tens <= 9 && ones <= 9;
}

bool weir_parse_timestamp(weir_bytes text, int64_t *micros) {
    static const int DAYS[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int century, year, month, day, hour, minute, second, offset = 0, fraction = 0;
    const char *at = text.ptr, *end = text.ptr + text.len;
    if (text.len < 20 || !two(at, &century) || !two(at + 2, &year) || at[4] != '-' || !two(at + 5, &month) || at[7] != '-' ||
        !two(at + 8, &day) || at[10] != 'T' || !two(at + 11, &hour) || at[13] != ':' ||
        !two(at + 14, &minute) || at[16] != ':' || !two(at + 17, &second))
        return false;
    year += century * 100;
    bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > DAYS[month - 1] + (month == 2 && is_leap) || hour > 23 ||
        minute > 59 || second > 59)
        return false;
    at += 19;
    if (*at == '.') {
        int scale = 100000;
        const char *first = ++at;
        for (; at < end && *at >= '0' && *at <= '9'; at++, scale /= 10) fraction += (*at - '0') * scale;
        if (at == first) return false;
    }
    if (at + 1 == end && *at == 'Z') offset = 0;
    else {
        int hours, minutes;
        if (at + 6 != end || (*at != '+' && *at != '-') || !two(at + 1, &hours) || at[3] != ':' ||
            !two(at + 4, &minutes) || hours > 23 || minutes > 59)
            return false;
        offset = (hours * 60 + minutes) * (*at == '-' ? -1 : 1);
    }
    /* Days from 0000-03-01, so that the leap day is the last of its year. */
    int64_t y = year - (month <= 2), era = y / 400, of_era = y % 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t days = era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
    *micros = (((days * 24 + hour) * 60 + minute - offset) * 60 + second) * 1000000 + fraction;
    return true;
}

bool weir_parse_double(weir_bytes text, double *value) {
    static const double TENS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                  1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    const char *at = text.ptr, *end = text.ptr + text.len;
    bool is_negative = at < end && *at == '-';
    at += is_negative;
    uint64_t mantissa = 0;
    int numerals = 0, scale = 0, seen = 0;
    for (; at < end && *at >= '0' && *at <= '9'; at++, seen++)
        if (numerals < 19) mantissa = mantissa * 10 + (uint64_t)(*at - '0'), numerals += mantissa != 0;
        else numerals++;
    if (at < end && *at == '.') {
        const char *first = ++at;
        for (; at < end && *at >= '0' && *at <= '9'; at++, seen++, scale--)
            if (numerals < 19) mantissa = mantissa * 10 + (uint64_t)(*at - '0'), numerals += mantissa != 0;
            else numerals++;
        if (at == first) return false;
    }
    if (seen == 0) return false;
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        bool is_small = at < end && *at == '-';
        if (at < end && (*at == '-' || *at == '+')) at++;
        const char *first = at;
        int exponent = 0;
        for (; at < end && *at >= '0' && *at <= '9'; at++)
            if (exponent < 100000) exponent = exponent * 10 + (*at - '0');
        if (at == first) return false;
        scale += is_small ? -exponent : exponent;
    }
    if (at != end) return false;
    /* Both are exact as doubles, so one operation rounds once. */
    if (numerals <= 18 && mantissa <= 1ull << 53 && scale >= -22 && scale <= 22) {
        double exact = (double)mantissa;
        exact = scale < 0 ? exact / TENS[-scale] : exact * TENS[scale];
        *value = is_negative ? -exact : exact;
        return true;
    }
    char small[64], *copy = text.len < sizeof small ? small : grow(NULL, text.len + 1);
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = 0;
    *value = strtod(copy, NULL);
    if (copy != small) free(copy);
    return true;
}

static bool is_ascii(uint64_t eight) { return (eight & 0x8080808080808080ull) == 0; }

bool weir_is_utf8(weir_bytes text) {
    const uint8_t *at = (const uint8_t *)text.ptr, *end = at + text.len;
    while (at < end) {
        uint64_t eight[4];
        while (end - at >= 32 && (__builtin_memcpy(eight, at, 32), is_ascii(eight[0] | eight[1] | eight[2] | eight[3]))) at += 32;
        while (end - at >= 8 && (__builtin_memcpy(eight, at, 8), is_ascii(*eight))) at += 8;
        if (at == end) break;
        uint8_t c = *at++;
        if (c < 0x80) continue;
        int more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
        if (c < 0xc2 || c > 0xf4 || end - at < more) return false;
        uint8_t low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80, high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
        if (*at < low || *at > high) return false;
        for (at++; --more; at++)
            if (*at < 0x80 || *at > 0xbf) return false;
    }
    return true;
}

/* With link-time optimisation the linker takes the guard of the stack protector
 * from the C library, which asks for randomness: there is none. */
uintptr_t __stack_chk_guard = 0x57656972;
_Noreturn void __stack_chk_fail(void);
_Noreturn void __stack_chk_fail(void) { __builtin_trap(); }
