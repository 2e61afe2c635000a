"""An aggregator: count, mean and standard deviation of a column, in one pass."""

import math

import weir


class Spread(weir.GroupAggregator):
    name = "{{name}}"
    version = "0.1.0"
    description = "Count, mean and standard deviation of a column."
    config_schema = {
        "type": "object",
        "properties": {"column": {"type": "string", "minLength": 1}},
        "required": ["column"],
        "additionalProperties": False,
    }
    output = "readings bigint not null, mean double, deviation double"

    def configure(self, config, input):
        self.input = f"{config['column']} double"

    def new_state(self):
        # Changed in place; it becomes JSON where the host keeps it.
        return {"n": 0, "mean": 0.0, "squares": 0.0}

    def update(self, state, value):
        if value is None:
            return
        state["n"] += 1
        away = value - state["mean"]
        state["mean"] += away / state["n"]
        state["squares"] += away * (value - state["mean"])

    def merge(self, state, other):
        n = state["n"] + other["n"]
        if n == 0:
            return
        away = other["mean"] - state["mean"]
        state["squares"] += other["squares"] + away * away * state["n"] * other["n"] / n
        state["mean"] += away * other["n"] / n
        state["n"] = n

    def evaluate(self, state):
        if state["n"] == 0:
            return 0, None, None
        return state["n"], state["mean"], math.sqrt(state["squares"] / state["n"])


Plugin, Aggregator = weir.export(Spread)
