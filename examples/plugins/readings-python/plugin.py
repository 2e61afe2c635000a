"""A parser of readings, as `weir generate` makes them: JSON arrays of objects.

The same parser stands beside this one in Rust, JavaScript and C, and the
bundled `json` parser reads the same columns; all give the same rows. A message
that is no JSON is rejected as a whole, a reading that does not fit alone.
"""

import json

import weir

NAMES = ("deviceId", "ts", "temperature", "humidity", "pressure", "battery", "lat", "lon", "status")
NUMBER = (float, type(None))
TEXT = (str, type(None))


class Readings(weir.MessageParser):
    name = "readings-python"
    version = "0.1.0"
    description = "Readings of sensors in JSON."
    config_schema = {"type": "object", "additionalProperties": False}
    output = (
        "deviceId string, event_time timestamp, temperature double, humidity double, pressure double, "
        "battery double, lat double, lon double, status string"
    )

    def configure(self, config):
        # The types of readings that were checked, so that most need one look only.
        self.fitting = set()
        # All numbers are doubles, as in other languages: -0 keeps its sign.
        self.decode = json.JSONDecoder(parse_int=float, parse_constant=self.refuse).decode

    def parse(self, message, rows):
        readings = self.decode(message.decode())
        if isinstance(readings, dict):
            readings = [readings]
        elif not isinstance(readings, list):
            raise weir.Reject("it is neither an array nor an object")
        for index, reading in enumerate(readings):
            try:
                self.push(reading, rows)
            except weir.Reject as reject:
                rows.reject(reject, element=index)

    def push(self, reading, rows):
        if not isinstance(reading, dict):
            raise weir.Reject("it is no object")
        values = tuple(map(reading.get, NAMES))
        types = tuple(map(type, values))
        if types not in self.fitting:
            self.check(values, types)
        device, ts, *others = values
        try:
            at = None if ts is None else weir.timestamp(ts)
        except ValueError:
            raise weir.Reject("ts: no timestamp") from None
        rows.push(device, at, *others)

    def check(self, values, types):
        for name, type_ in zip(NAMES, types):
            fitting = TEXT if name in ("deviceId", "ts", "status") else NUMBER
            if type_ not in fitting:
                raise weir.Reject(f"{name}: no {'text' if fitting is TEXT else 'number'}")
        self.fitting.add(types)

    @staticmethod
    def refuse(constant):
        raise ValueError(f"{constant} is no JSON")


Plugin, Parser = weir.export(Readings)
