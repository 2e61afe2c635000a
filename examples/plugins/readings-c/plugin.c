/* A parser of readings, as `weir generate` makes them: JSON arrays of objects.
 *
 * The same parser stands beside this one in Rust, Python and JavaScript, and the
 * bundled `json` parser reads the same columns; all give the same rows. A message
 * that is no JSON is rejected as a whole, a reading that does not fit alone.
 *
 * Each value goes straight into its column; keys are expected in the order of the
 * reading before, and found wherever they are.
 */
#include <string.h>
#include <wasm_simd128.h>

#include "weir.h"

enum { DEVICE, AT, TEMPERATURE, HUMIDITY, PRESSURE, BATTERY, LAT, LON, STATUS, COLUMNS };

static const struct {
    const char *key;
    size_t len;
} KEYS[COLUMNS] = {{"deviceId", 8}, {"ts", 2},  {"temperature", 11}, {"humidity", 8}, {"pressure", 8},
                   {"battery", 7},  {"lat", 3}, {"lon", 3},          {"status", 6}};

#define DEPTH_MAX 200

typedef struct {
    const char *start, *at, *end;
} cursor;

static void skip_blanks(cursor *c) {
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n' || *c->at == '\r' || *c->at == '\t')) c->at++;
}

static bool take(cursor *c, char wanted) {
    skip_blanks(c);
    if (c->at == c->end || *c->at != wanted) return false;
    c->at++;
    return true;
}

static bool take_word(cursor *c, const char *word) {
    size_t len = strlen(word);
    if ((size_t)(c->end - c->at) < len || memcmp(c->at, word, len) != 0) return false;
    c->at += len;
    return true;
}

/* A text behind its opening quote, escapes as they stand. */
static bool take_text(cursor *c, weir_bytes *text, bool *has_escapes) {
    const char *first = c->at;
    *has_escapes = false;
    for (;;) {
        while (c->end - c->at >= 16) {
            v128_t bytes = wasm_v128_load(c->at);
            v128_t ends = wasm_v128_or(wasm_i8x16_eq(bytes, wasm_i8x16_splat('"')), wasm_i8x16_eq(bytes, wasm_i8x16_splat('\\')));
            uint32_t found = wasm_i8x16_bitmask(wasm_v128_or(ends, wasm_u8x16_lt(bytes, wasm_i8x16_splat(0x20))));
            if (found) {
                c->at += __builtin_ctz(found);
                break;
            }
            c->at += 16;
        }
        while (c->at < c->end && *c->at != '"' && *c->at != '\\' && (uint8_t)*c->at >= 0x20) c->at++;
        if (c->at == c->end || (uint8_t)*c->at < 0x20) return false;
        if (*c->at == '"') {
            *text = (weir_bytes){first, (size_t)(c->at++ - first)};
            return true;
        }
        *has_escapes = true;
        c->at++;
        if (c->at == c->end) return false;
        char escape = *c->at++;
        if (escape == 'u') {
            if (c->end - c->at < 4) return false;
            for (int i = 0; i < 4; i++, c->at++) {
                char digit = *c->at | 0x20;
                if (!((*c->at >= '0' && *c->at <= '9') || (digit >= 'a' && digit <= 'f'))) return false;
            }
        } else if (!strchr("\"\\/bfnrt", escape)) return false;
    }
}

static uint32_t hex(const char *at) {
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) value = value << 4 | (uint32_t)(at[i] <= '9' ? at[i] - '0' : (at[i] | 0x20) - 'a' + 10);
    return value;
}

/* Write a text without its escapes, which are never shorter. False for half of a
 * surrogate pair. */
static bool unescape(weir_bytes text, char *to, size_t *len) {
    char *first = to;
    for (const char *at = text.ptr, *end = at + text.len; at < end;) {
        if (*at != '\\') {
            *to++ = *at++;
            continue;
        }
        char escape = at[1];
        at += 2;
        if (escape != 'u') {
            static const char FROM[] = "bfnrt", TO[] = "\b\f\n\r\t";
            const char *known = strchr(FROM, escape);
            *to++ = known ? TO[known - FROM] : escape;
            continue;
        }
        uint32_t code = hex(at);
        at += 4;
        if (code >= 0xd800 && code < 0xe000) {
            if (code >= 0xdc00 || end - at < 6 || at[0] != '\\' || at[1] != 'u') return false;
            uint32_t low = hex(at + 2);
            if (low < 0xdc00 || low > 0xdfff) return false;
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
            at += 6;
        }
        if (code < 0x80) *to++ = (char)code;
        else if (code < 0x800) *to++ = (char)(0xc0 | code >> 6), *to++ = (char)(0x80 | (code & 63));
        else {
            if (code < 0x10000) *to++ = (char)(0xe0 | code >> 12);
            else *to++ = (char)(0xf0 | code >> 18), *to++ = (char)(0x80 | (code >> 12 & 63));
            *to++ = (char)(0x80 | (code >> 6 & 63)), *to++ = (char)(0x80 | (code & 63));
        }
    }
    *len = (size_t)(to - first);
    return true;
}

static bool is_digit(const cursor *c) { return c->at < c->end && *c->at >= '0' && *c->at <= '9'; }

static bool take_digits(cursor *c) {
    const char *first = c->at;
    while (is_digit(c)) c->at++;
    return c->at > first;
}

static bool take_number(cursor *c, weir_bytes *number) {
    const char *first = c->at;
    if (*c->at == '-') c->at++;
    if (c->at < c->end && *c->at == '0') c->at++;
    else if (!take_digits(c)) return false;
    if (c->at < c->end && *c->at == '.') {
        c->at++;
        if (!take_digits(c)) return false;
    }
    if (c->at < c->end && (*c->at | 0x20) == 'e') {
        c->at++;
        if (c->at < c->end && (*c->at == '-' || *c->at == '+')) c->at++;
        if (!take_digits(c)) return false;
    }
    *number = (weir_bytes){first, (size_t)(c->at - first)};
    return true;
}

/* The value of a number, and where it ends. Most have few digits and no exponent:
 * their value is one exact quotient. */
static bool take_double(cursor *c, double *value) {
    static const double TENS[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    const char *first = c->at, *at = first + (*first == '-');
    const char *whole = at;
    uint64_t mantissa = 0;
    for (; at < c->end && (unsigned)(*at - '0') <= 9; at++) mantissa = mantissa * 10 + (uint64_t)(*at - '0');
    ptrdiff_t wholes = at - whole, parts = 0;
    if (at < c->end && *at == '.') {
        const char *part = ++at;
        for (; at < c->end && (unsigned)(*at - '0') <= 9; at++) mantissa = mantissa * 10 + (uint64_t)(*at - '0');
        parts = at - part;
        if (parts == 0) return false;
    }
    bool is_plain = at == c->end || (*at | 0x20) != 'e';
    if (is_plain && wholes > 0 && wholes + parts <= 15 && (wholes == 1 || *whole != '0')) {
        double exact = (double)mantissa / TENS[parts];
        *value = *first == '-' ? -exact : exact;
        c->at = at;
        return true;
    }
    weir_bytes number;
    return take_number(c, &number) && weir_parse_double(number, value);
}

/* Step over a value of any kind. */
static bool skip_value(cursor *c, int depth) {
    weir_bytes text;
    bool has_escapes;
    skip_blanks(c);
    if (c->at == c->end || depth > DEPTH_MAX) return false;
    switch (*c->at) {
    case '"': c->at++; return take_text(c, &text, &has_escapes);
    case 't': return take_word(c, "true");
    case 'f': return take_word(c, "false");
    case 'n': return take_word(c, "null");
    case '[':
        c->at++;
        if (take(c, ']')) return true;
        do {
            if (!skip_value(c, depth + 1)) return false;
        } while (take(c, ','));
        return take(c, ']');
    case '{':
        c->at++;
        if (take(c, '}')) return true;
        do {
            if (!take(c, '"') || !take_text(c, &text, &has_escapes) || !take(c, ':') || !skip_value(c, depth + 1)) return false;
        } while (take(c, ','));
        return take(c, '}');
    default: return take_number(c, &text);
    }
}

/* Keys are short: two loads that may overlap say it without a call. */
static bool is_key(weir_bytes key, int column) {
    const char *own = KEYS[column].key;
    size_t len = KEYS[column].len;
    if (key.len != len) return false;
    if (len >= 8) {
        uint64_t a[2], b[2];
        memcpy(a, key.ptr, 8), memcpy(a + 1, key.ptr + len - 8, 8);
        memcpy(b, own, 8), memcpy(b + 1, own + len - 8, 8);
        return a[0] == b[0] && a[1] == b[1];
    }
    if (len >= 4) {
        uint32_t a[2], b[2];
        memcpy(a, key.ptr, 4), memcpy(a + 1, key.ptr + len - 4, 4);
        memcpy(b, own, 4), memcpy(b + 1, own + len - 4, 4);
        return a[0] == b[0] && a[1] == b[1];
    }
    return key.ptr[0] == own[0] && key.ptr[1] == own[1] && key.ptr[len - 1] == own[len - 1];
}

/* The column of a key, COLUMNS for others. */
static int column_of(weir_bytes key, int expected) {
    if (expected < COLUMNS && is_key(key, expected)) return expected;
    for (int i = 0; i < COLUMNS; i++)
        if (is_key(key, i)) return i;
    return COLUMNS;
}

static bool is_text(int column) { return column == DEVICE || column == AT || column == STATUS; }

/* Put a value into its column. Says whether it fits; the result is whether it is JSON. */
static bool take_value(cursor *c, int column, weir_rows *rows, bool *fits) {
    skip_blanks(c);
    if (c->at == c->end) return false;
    *fits = true;
    if (*c->at == 'n') {
        weir_set_null(rows, (uint32_t)column);
        return take_word(c, "null");
    }
    if (*c->at == '"' && is_text(column)) {
        weir_bytes text;
        bool has_escapes;
        c->at++;
        if (!take_text(c, &text, &has_escapes)) return false;
        if (column == AT) {
            char plain[64];
            int64_t micros;
            if (has_escapes && text.len < sizeof plain && unescape(text, plain, &text.len)) text.ptr = plain;
            *fits = weir_parse_timestamp(text, &micros);
            if (*fits) weir_set_int(rows, AT, micros);
        } else if (has_escapes) {
            size_t len;
            if (!unescape(text, weir_set_text_room(rows, (uint32_t)column, text.len), &len)) return false;
            weir_set_text_len(rows, (uint32_t)column, len);
        } else weir_set_text(rows, (uint32_t)column, text);
        return true;
    }
    if ((*c->at == '-' || is_digit(c)) && !is_text(column)) {
        double value;
        if (!take_double(c, &value)) return false;
        weir_set_double(rows, (uint32_t)column, value);
        return true;
    }
    *fits = false;
    return skip_value(c, 1);
}

/* One reading. The result is whether it is JSON. */
static bool take_reading(cursor *c, uint32_t element, weir_rows *rows) {
    skip_blanks(c);
    if (c->at == c->end || *c->at != '{') {
        weir_reject_element(rows, element, "it is no object");
        return skip_value(c, 1);
    }
    c->at++;
    uint32_t misfits = 0;
    int expected = 0;
    bool is_empty = take(c, '}');
    while (!is_empty) {
        weir_bytes key;
        bool has_escapes, fits;
        char plain[64];
        if (!take(c, '"') || !take_text(c, &key, &has_escapes)) return false;
        if (has_escapes && key.len < sizeof plain && unescape(key, plain, &key.len)) key.ptr = plain;
        int column = column_of(key, expected);
        if (!take(c, ':')) return false;
        if (column == COLUMNS) {
            if (!skip_value(c, 1)) return false;
        } else {
            if (!take_value(c, column, rows, &fits)) return false;
            /* Of equal keys the last one counts. */
            misfits = fits ? misfits & ~(1u << column) : misfits | 1u << column;
            expected = column + 1;
        }
        if (take(c, ',')) continue;
        if (!take(c, '}')) return false;
        break;
    }
    if (misfits == 0) {
        weir_end_row(rows);
        return true;
    }
    int column = __builtin_ctz(misfits);
    const char *wanted = column == AT ? "timestamp" : is_text(column) ? "text" : "number";
    weir_reject_element(rows, element, "%s: no %s", KEYS[column].key, wanted);
    weir_drop_row(rows);
    return true;
}

static bool take_message(cursor *c, weir_rows *rows) {
    skip_blanks(c);
    if (c->at < c->end && *c->at == '{') {
        if (!take_reading(c, 0, rows)) return false;
    } else if (!take(c, '[')) {
        if (!skip_value(c, 0)) return false;
        weir_reject(rows, "it is neither an array nor an object");
    } else if (!take(c, ']')) {
        uint32_t element = 0;
        do {
            if (!take_reading(c, element++, rows)) return false;
        } while (take(c, ','));
        if (!take(c, ']')) return false;
    }
    skip_blanks(c);
    return c->at == c->end;
}

static void parse(weir_bytes message, weir_rows *rows) {
    cursor c = {message.ptr, message.ptr, message.ptr + message.len};
    if (!weir_is_utf8(message)) {
        weir_reject(rows, "it is not UTF-8");
    } else if (!take_message(&c, rows)) {
        weir_reject(rows, "malformed JSON at byte %zu", (size_t)(c.at - c.start));
    }
}

const weir_plugin weir = {
    .name = "readings-c",
    .version = "0.1.0",
    .description = "Readings of sensors in JSON.",
    .config_schema = "{\"type\": \"object\", \"additionalProperties\": false}",
    .output = "deviceId string, event_time timestamp, temperature double, humidity double, pressure double, "
              "battery double, lat double, lon double, status string",
    .parse = parse,
};
