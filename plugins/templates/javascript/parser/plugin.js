// A parser: lines such as `sensor-1;2025-10-05T18:40:10Z;21.5` become rows.

import { Reject, messageParser, timestamp } from "weir";

export const { plugin, parser } = messageParser({
  name: "{{name}}",
  version: "0.1.0",
  description: "One row for each line of device, time and value.",
  configSchema: {
    type: "object",
    properties: { separator: { type: "string", minLength: 1 } },
    additionalProperties: false,
  },
  output: "device string not null, at timestamp not null, value double",

  configure(config) {
    this.separator = config.separator ?? ";";
  },

  parse(message, rows) {
    message.text().split("\n").forEach((line, index) => {
      if (line === "") return;
      const parts = line.split(this.separator);
      if (parts.length !== 3) {
        // The other lines of the message stay. What is thrown rejects all of it.
        rows.reject(`${parts.length} fields where 3 were expected`, { element: index });
        return;
      }
      const [device, at, value] = parts;
      rows.push(device, timestamp(at), value === "" ? null : number(value));
    });
  },
});

function number(text) {
  const value = Number(text);
  if (Number.isNaN(value)) throw new Reject(`${JSON.stringify(text)} is no number`);
  return value;
}
