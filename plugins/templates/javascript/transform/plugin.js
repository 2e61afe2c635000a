// A transform: adds the dew point of temperature and humidity to each row.

import { Reject, rowTransform } from "weir";

export const { plugin, transform } = rowTransform({
  name: "{{name}}",
  version: "0.1.0",
  description: "Adds the dew point of temperature (°C) and relative humidity (%).",
  input: "temperature double, humidity double",
  output: "dew_point double",
  // All other columns come through as they are.
  carried: "*",

  apply(rows, temperature, humidity) {
    if (temperature === null || humidity === null) {
      rows.push(null);
      return;
    }
    if (humidity <= 0 || humidity > 100) throw new Reject(`a relative humidity of ${humidity} %`);
    // Magnus' formula, over water.
    const gamma = Math.log(humidity / 100) + (17.62 * temperature) / (243.12 + temperature);
    rows.push(Math.round(((243.12 * gamma) / (17.62 - gamma)) * 100) / 100);
  },
});
