// A parser of readings, as `weir generate` makes them: JSON arrays of objects.
//
// The same parser stands beside this one in Rust, Python and C, and the bundled
// `json` parser reads the same columns; all give the same rows. A message that is no
// JSON is rejected as a whole, a reading that does not fit alone.

import { Reject, messageParser, timestamp } from "weir";

export const { plugin, parser } = messageParser({
  name: "readings-javascript",
  version: "0.1.0",
  description: "Readings of sensors in JSON.",
  configSchema: { type: "object", additionalProperties: false },
  output:
    "deviceId string, event_time timestamp, temperature double, humidity double, pressure double, " +
    "battery double, lat double, lon double, status string",

  parse(message, rows) {
    const root = JSON.parse(message.text());
    const readings = Array.isArray(root) ? root : [root];
    if (root === null || typeof root !== "object") throw new Reject("it is neither an array nor an object");
    for (let index = 0; index < readings.length; index++) {
      try {
        push(readings[index], rows);
      } catch (error) {
        rows.reject(error, { element: index });
      }
    }
  },
});

function push(reading, rows) {
  if (reading === null || typeof reading !== "object" || Array.isArray(reading)) throw new Reject("it is no object");
  const { deviceId, ts, temperature, humidity, pressure, battery, lat, lon, status } = reading;
  rows.push(
    typeof deviceId === "string" ? deviceId : none("deviceId", "text", deviceId),
    typeof ts === "string" ? instant(ts) : none("ts", "text", ts),
    typeof temperature === "number" ? temperature : none("temperature", "number", temperature),
    typeof humidity === "number" ? humidity : none("humidity", "number", humidity),
    typeof pressure === "number" ? pressure : none("pressure", "number", pressure),
    typeof battery === "number" ? battery : none("battery", "number", battery),
    typeof lat === "number" ? lat : none("lat", "number", lat),
    typeof lon === "number" ? lon : none("lon", "number", lon),
    typeof status === "string" ? status : none("status", "text", status),
  );
}

function none(name, wanted, value) {
  if (value !== null && value !== undefined) throw new Reject(`${name}: no ${wanted}`);
  return null;
}

function instant(text) {
  try {
    return timestamp(text);
  } catch {
    throw new Reject("ts: no timestamp");
  }
}
