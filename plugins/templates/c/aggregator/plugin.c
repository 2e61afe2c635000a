/* An aggregator: count, mean and standard deviation of a column, in one pass. */

#include <math.h>

#include "weir.h"

/* The places of the columns in `input` and `output`. */
enum { VALUE };
enum { READINGS, MEAN, DEVIATION };

/* All zeros before the first row. It is kept as it lies here: another layout needs
 * another state_version. */
typedef struct {
    int64_t n;
    double mean, squares;
} spread;

static void configure(weir_setup *setup) {
    setup->input = weir_format("%s double", weir_config_text(setup, "column", ""));
}

static void update(void *state, const weir_batch *in, uint32_t row) {
    if (weir_is_null(in, VALUE, row)) return;
    spread *to = state;
    double value = weir_double(in, VALUE, row), away = value - to->mean;
    to->n += 1;
    to->mean += away / (double)to->n;
    to->squares += away * (value - to->mean);
}

static void merge(void *state, const void *other) {
    spread *to = state;
    const spread *from = other;
    int64_t n = to->n + from->n;
    if (n == 0) return;
    double away = from->mean - to->mean;
    to->squares += from->squares + away * away * (double)to->n * (double)from->n / (double)n;
    to->mean += away * (double)from->n / (double)n;
    to->n = n;
}

static void evaluate(const void *state, weir_rows *rows) {
    const spread *from = state;
    weir_set_int(rows, READINGS, from->n);
    if (from->n > 0) {
        weir_set_double(rows, MEAN, from->mean);
        weir_set_double(rows, DEVIATION, sqrt(from->squares / (double)from->n));
    }
    weir_end_row(rows);
}

const weir_plugin weir = {
    .name = "{{name}}",
    .version = "0.1.0",
    .description = "Count, mean and standard deviation of a column.",
    .config_schema = "{\"type\": \"object\", \"properties\": {\"column\": {\"type\": \"string\", \"minLength\": 1}}, "
                     "\"required\": [\"column\"], \"additionalProperties\": false}",
    .output = "readings bigint not null, mean double, deviation double",
    .configure = configure,
    .state_size = sizeof(spread),
    .state_version = 1,
    .update = update,
    .merge = merge,
    .evaluate = evaluate,
};
