// A rule that remembers: an alert where a value jumps between two readings of a key.

import { count, keyedRule } from "weir";

export const { plugin, rule } = keyedRule({
  name: "{{name}}",
  version: "0.1.0",
  description: "Finds values that change by more than a bound from one reading to the next.",
  configSchema: {
    type: "object",
    properties: {
      column: { type: "string", minLength: 1 },
      by: { type: "number", exclusiveMinimum: 0 },
    },
    required: ["column", "by"],
    additionalProperties: false,
  },

  configure(config) {
    this.column = config.column;
    this.by = config.by;
    this.input = `${config.column} double`;
  },

  // Changed in place; it becomes JSON where the host keeps it.
  newState() {
    return { last: null };
  },

  judge(alerts, state, value) {
    if (value === null) return;
    const { last } = state;
    state.last = value;
    if (last !== null && Math.abs(value - last) > this.by) {
      alerts.push("JUMP", "WARNING", `${this.column} went from ${last.toFixed(1)} to ${value.toFixed(1)}`);
      count("jumps");
    }
  },
});
