/* A parser: lines such as `sensor-1;2025-10-05T18:40:10Z;21.5` become rows. */

#include <string.h>

#include "weir.h"

enum { DEVICE, AT, VALUE };

static char separator;

static void configure(weir_setup *setup) {
    const char *text = weir_config_text(setup, "separator", ";");
    if (strlen(text) != 1) weir_problem(setup, "separator", "one character is expected, not \"%s\"", text);
    separator = text[0];
}

/* Cut a text at the first place of a character; what is behind it stays in `rest`. */
static weir_bytes cut(weir_bytes *rest, char at) {
    const char *found = rest->len ? memchr(rest->ptr, at, rest->len) : NULL;
    weir_bytes before = {rest->ptr, found ? (size_t)(found - rest->ptr) : rest->len};
    size_t taken = before.len + (found != NULL);
    *rest = (weir_bytes){rest->ptr + taken, rest->len - taken};
    return before;
}

static size_t occurrences(weir_bytes text, char of) {
    size_t count = 0;
    for (size_t i = 0; i < text.len; i++) count += text.ptr[i] == of;
    return count;
}

static void parse(weir_bytes message, weir_rows *rows) {
    if (!weir_is_utf8(message)) {
        weir_reject(rows, "it is not UTF-8");
        return;
    }
    for (uint32_t index = 0; message.len > 0; index++) {
        weir_bytes line = cut(&message, '\n');
        if (line.len == 0) continue;
        size_t fields = occurrences(line, separator) + 1;
        if (fields != 3) {
            /* The other lines of the message stay; weir_reject rejects all of it. */
            weir_reject_element(rows, index, "%zu fields where 3 were expected", fields);
            continue;
        }
        weir_bytes device = cut(&line, separator), at = cut(&line, separator);
        int64_t micros;
        double value;
        if (!weir_parse_timestamp(at, &micros)) {
            weir_reject(rows, "\"%.*s\" is no timestamp", (int)at.len, at.ptr);
            return;
        }
        if (line.len > 0 && !weir_parse_double(line, &value)) {
            weir_reject(rows, "\"%.*s\" is no number", (int)line.len, line.ptr);
            return;
        }
        weir_set_text(rows, DEVICE, device);
        weir_set_int(rows, AT, micros);
        /* What is not set is null. */
        if (line.len > 0) weir_set_double(rows, VALUE, value);
        weir_end_row(rows);
    }
}

const weir_plugin weir = {
    .name = "{{name}}",
    .version = "0.1.0",
    .description = "One row for each line of device, time and value.",
    .config_schema = "{\"type\": \"object\", \"properties\": {\"separator\": {\"type\": \"string\", \"minLength\": 1}}, "
                     "\"additionalProperties\": false}",
    .output = "device string not null, at timestamp not null, value double",
    .configure = configure,
    .parse = parse,
};
