"""A parser: lines such as `sensor-1;2025-10-05T18:40:10Z;21.5` become rows."""

import weir


class Lines(weir.MessageParser):
    name = "{{name}}"
    version = "0.1.0"
    description = "One row for each line of device, time and value."
    config_schema = {
        "type": "object",
        "properties": {"separator": {"type": "string", "minLength": 1}},
        "additionalProperties": False,
    }
    output = "device string not null, at timestamp not null, value double"

    def configure(self, config):
        self.separator = config.get("separator", ";")

    def parse(self, message, rows):
        for index, line in enumerate(message.decode().splitlines()):
            parts = line.split(self.separator)
            if len(parts) != 3:
                # The other lines of the message stay. What is raised rejects all of it.
                rows.reject(f"{len(parts)} fields where 3 were expected", element=index)
                continue
            device, at, value = parts
            rows.push(device, weir.timestamp(at), float(value) if value else None)


Plugin, Parser = weir.export(Lines)
