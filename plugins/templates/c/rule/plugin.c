/* A rule that remembers: an alert where a value jumps between two readings of a key. */

#include <math.h>

#include "weir.h"

/* The place of the column in `input`. */
enum { VALUE };

/* All zeros before the first row. It is kept as it lies here: another layout needs
 * another state_version. */
typedef struct {
    double last;
    int64_t has_last;
} memory;

static const char *column;
static double by;

static void configure(weir_setup *setup) {
    column = weir_config_text(setup, "column", "");
    by = weir_config_number(setup, "by", 0);
    setup->input = weir_format("%s double", column);
}

static void judge(void *state, const weir_batch *in, uint32_t row, weir_alerts *alerts) {
    if (weir_is_null(in, VALUE, row)) return;
    memory *seen = state;
    double value = weir_double(in, VALUE, row);
    if (seen->has_last && fabs(value - seen->last) > by) {
        weir_alert(alerts, "JUMP", "WARNING", "%s went from %.1f to %.1f", column, seen->last, value);
        weir_count("jumps", 1);
    }
    *seen = (memory){value, 1};
}

const weir_plugin weir = {
    .name = "{{name}}",
    .version = "0.1.0",
    .description = "Finds values that change by more than a bound from one reading to the next.",
    .config_schema = "{\"type\": \"object\", \"properties\": {\"column\": {\"type\": \"string\", \"minLength\": 1}, "
                     "\"by\": {\"type\": \"number\", \"exclusiveMinimum\": 0}}, \"required\": [\"column\", \"by\"], "
                     "\"additionalProperties\": false}",
    .configure = configure,
    .state_size = sizeof(memory),
    .state_version = 1,
    .judge = judge,
};
