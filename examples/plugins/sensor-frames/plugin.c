/* A parser of binary frames, as a field device sends them over a serial line.
 *
 *     offset  bytes
 *          0      2  "SF"
 *          2      1  version, 1
 *          3      1  number of samples
 *          4      4  serial number of the device, big-endian as all that follows
 *          8      8  time of the first sample, milliseconds since 1970
 *         16      2  milliseconds between samples
 *         18    4*n  samples: temperature in 1/100 °C (signed), humidity in 1/100 %
 *                    (unsigned; 0xffff where the sensor has none)
 *        ...      2  CRC-16/CCITT-FALSE of all bytes before
 *
 * A message is one frame or several, one behind the other. What is damaged is skipped
 * to the next frame that is intact, and rejected with its reason.
 */

#include "weir.h"

enum { DEVICE, AT, TEMPERATURE, HUMIDITY };
enum { HEADER = 18, SAMPLE = 4, CRC = 2, NO_HUMIDITY = 0xffff };

static uint64_t big_endian(const uint8_t *at, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value = value << 8 | at[i];
    return value;
}

static uint16_t crc_table[256];

static void configure(weir_setup *setup) {
    (void)setup;
    for (unsigned byte = 0; byte < 256; byte++) {
        unsigned crc = byte << 8;
        for (int bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1;
        crc_table[byte] = (uint16_t)crc;
    }
}

static uint16_t crc_of(const uint8_t *at, size_t len) {
    uint16_t crc = 0xffff;
    for (size_t i = 0; i < len; i++) crc = (uint16_t)(crc << 8 ^ crc_table[crc >> 8 ^ at[i]]);
    return crc;
}

/* The length of the frame that begins here; 0 with the reason if it is no frame. */
static size_t frame_at(const uint8_t *at, size_t rest, const char **reason) {
    if (rest < HEADER + CRC) return *reason = "it ends within a header", 0;
    if (at[0] != 'S' || at[1] != 'F') return *reason = "no frame begins here", 0;
    if (at[2] != 1) return *reason = "an unknown version", 0;
    size_t len = HEADER + (size_t)at[3] * SAMPLE + CRC;
    if (rest < len) return *reason = "it ends within the samples", 0;
    if (crc_of(at, len - CRC) != big_endian(at + len - CRC, CRC)) return *reason = "the checksum is wrong", 0;
    return len;
}

static void push_samples(const uint8_t *frame, weir_rows *rows) {
    int64_t start_us = (int64_t)big_endian(frame + 8, 8) * 1000, step_us = (int64_t)big_endian(frame + 16, 2) * 1000;
    for (int i = 0; i < frame[3]; i++) {
        const uint8_t *sample = frame + HEADER + i * SAMPLE;
        uint64_t humidity = big_endian(sample + 2, 2);
        weir_set_int(rows, DEVICE, (int64_t)big_endian(frame + 4, 4));
        weir_set_int(rows, AT, start_us + i * step_us);
        weir_set_double(rows, TEMPERATURE, (int16_t)big_endian(sample, 2) / 100.0);
        /* What is not set is null. */
        if (humidity != NO_HUMIDITY) weir_set_double(rows, HUMIDITY, (double)humidity / 100.0);
        weir_end_row(rows);
    }
}

static void parse(weir_bytes message, weir_rows *rows) {
    const uint8_t *bytes = (const uint8_t *)message.ptr;
    uint32_t damaged = 0;
    for (size_t at = 0; at < message.len;) {
        const char *reason = NULL, *other;
        size_t len = frame_at(bytes + at, message.len - at, &reason);
        if (len > 0) {
            push_samples(bytes + at, rows);
            at += len;
            continue;
        }
        size_t next = at + 1;
        while (next < message.len && frame_at(bytes + next, message.len - next, &other) == 0) next++;
        weir_reject_element(rows, damaged++, "bytes %zu to %zu: %s", at, next, reason);
        at = next;
    }
}

const weir_plugin weir = {
    .name = "sensor-frames",
    .version = "0.1.0",
    .description = "Samples of binary frames with a checksum.",
    .config_schema = "{\"type\": \"object\", \"additionalProperties\": false}",
    .output = "device bigint not null, at timestamp not null, temperature double not null, humidity double",
    .configure = configure,
    .parse = parse,
};
