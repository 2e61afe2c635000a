"""A transform: adds the dew point of temperature and humidity to each row."""

import math

import weir


class DewPoint(weir.RowTransform):
    name = "{{name}}"
    version = "0.1.0"
    description = "Adds the dew point of temperature (°C) and relative humidity (%)."
    input = "temperature double, humidity double"
    output = "dew_point double"
    # All other columns come through as they are.
    carried = "*"

    def apply(self, rows, temperature, humidity):
        if temperature is None or humidity is None:
            rows.push(None)
            return
        if not 0 < humidity <= 100:
            raise weir.Reject(f"a relative humidity of {humidity} %")
        # Magnus' formula, over water.
        gamma = math.log(humidity / 100) + 17.62 * temperature / (243.12 + temperature)
        rows.push(round(243.12 * gamma / (17.62 - gamma), 2))


Plugin, Transform = weir.export(DewPoint)
