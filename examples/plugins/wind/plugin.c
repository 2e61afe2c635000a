/* An aggregator: the mean of wind, which has a direction.
 *
 * 359° and 1° are north, not south, so directions are added as vectors. The mean
 * vector says whence the wind blew on the whole; beside it stand the mean speed and
 * how steady the wind was: 1 if it always came from there, 0 if from everywhere.
 */

#include <math.h>

#include "weir.h"

/* The places of the columns in `input` and `output`. */
enum { IN_SPEED, IN_DIRECTION };
enum { READINGS, SPEED, GUST, DIRECTION, STEADINESS };

#define DEGREE (3.14159265358979323846 / 180)

/* All zeros before the first row. It is kept as it lies here: another layout needs
 * another state_version. */
typedef struct {
    int64_t n;
    double speeds, gust, east, north;
} wind;

static void update(void *state, const weir_batch *in, uint32_t row) {
    if (weir_is_null(in, IN_SPEED, row) || weir_is_null(in, IN_DIRECTION, row)) return;
    wind *to = state;
    double speed = weir_double(in, IN_SPEED, row), direction = weir_double(in, IN_DIRECTION, row) * DEGREE;
    to->n += 1;
    to->speeds += speed;
    to->gust = fmax(to->gust, speed);
    to->east += speed * sin(direction);
    to->north += speed * cos(direction);
}

static void merge(void *state, const void *other) {
    wind *to = state;
    const wind *from = other;
    to->n += from->n;
    to->speeds += from->speeds;
    to->gust = fmax(to->gust, from->gust);
    to->east += from->east;
    to->north += from->north;
}

static double rounded(double value, double steps) { return round(value * steps) / steps; }

static void evaluate(const void *state, weir_rows *rows) {
    const wind *from = state;
    weir_set_int(rows, READINGS, from->n);
    if (from->n > 0) {
        weir_set_double(rows, SPEED, rounded(from->speeds / (double)from->n, 100));
        weir_set_double(rows, GUST, from->gust);
    }
    if (from->speeds > 0) {
        double steadiness = rounded(hypot(from->east, from->north) / from->speeds, 1000);
        double degrees = atan2(from->east, from->north) / DEGREE;
        weir_set_double(rows, STEADINESS, steadiness);
        /* From everywhere is from nowhere. */
        if (steadiness > 0) weir_set_double(rows, DIRECTION, fmod(rounded(fmod(degrees + 360, 360), 10), 360));
    }
    weir_end_row(rows);
}

const weir_plugin weir = {
    .name = "wind",
    .version = "0.1.0",
    .description = "The mean of wind, whose direction is that of the mean vector.",
    .config_schema = "{\"type\": \"object\", \"additionalProperties\": false}",
    .input = "speed double, direction double",
    .output = "readings bigint not null, speed double, gust double, direction double, steadiness double",
    .state_size = sizeof(wind),
    .state_version = 1,
    .update = update,
    .merge = merge,
    .evaluate = evaluate,
};
