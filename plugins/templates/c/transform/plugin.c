/* A transform: adds the dew point of temperature and humidity to each row. */

#include <math.h>

#include "weir.h"

/* The places of the columns in `input` and `output`. */
enum { TEMPERATURE, HUMIDITY };
enum { DEW_POINT };

static void apply(const weir_batch *in, uint32_t row, weir_rows *rows) {
    if (weir_is_null(in, TEMPERATURE, row) || weir_is_null(in, HUMIDITY, row)) {
        /* What is not set is null. */
        weir_end_row(rows);
        return;
    }
    double temperature = weir_double(in, TEMPERATURE, row), humidity = weir_double(in, HUMIDITY, row);
    if (!(humidity > 0 && humidity <= 100)) {
        weir_reject(rows, "a relative humidity of %g %%", humidity);
        return;
    }
    /* Magnus' formula, over water. */
    double gamma = log(humidity / 100) + 17.62 * temperature / (243.12 + temperature);
    weir_set_double(rows, DEW_POINT, round(243.12 * gamma / (17.62 - gamma) * 100) / 100);
    weir_end_row(rows);
}

const weir_plugin weir = {
    .name = "{{name}}",
    .version = "0.1.0",
    .description = "Adds the dew point of temperature (°C) and relative humidity (%).",
    .input = "temperature double, humidity double",
    .output = "dew_point double",
    /* All other columns come through as they are. */
    .carried = "*",
    .apply = apply,
};
