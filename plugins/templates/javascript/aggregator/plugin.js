// An aggregator: count, mean and standard deviation of a column, in one pass.

import { groupAggregator } from "weir";

export const { plugin, aggregator } = groupAggregator({
  name: "{{name}}",
  version: "0.1.0",
  description: "Count, mean and standard deviation of a column.",
  configSchema: {
    type: "object",
    properties: { column: { type: "string", minLength: 1 } },
    required: ["column"],
    additionalProperties: false,
  },
  output: "readings bigint not null, mean double, deviation double",

  configure(config) {
    this.input = `${config.column} double`;
  },

  // Changed in place; it becomes JSON where the host keeps it.
  newState() {
    return { n: 0, mean: 0, squares: 0 };
  },

  update(state, value) {
    if (value === null) return;
    state.n += 1;
    const away = value - state.mean;
    state.mean += away / state.n;
    state.squares += away * (value - state.mean);
  },

  merge(state, other) {
    const n = state.n + other.n;
    if (n === 0) return;
    const away = other.mean - state.mean;
    state.squares += other.squares + (away * away * state.n * other.n) / n;
    state.mean += (away * other.n) / n;
    state.n = n;
  },

  evaluate(state) {
    if (state.n === 0) return [0, null, null];
    return [state.n, state.mean, Math.sqrt(state.squares / state.n)];
  },
});
