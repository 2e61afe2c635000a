"""A rule that remembers: an alert where a value jumps between two readings of a key."""

import weir


class Jump(weir.KeyedRule):
    name = "{{name}}"
    version = "0.1.0"
    description = "Finds values that change by more than a bound from one reading to the next."
    config_schema = {
        "type": "object",
        "properties": {
            "column": {"type": "string", "minLength": 1},
            "by": {"type": "number", "exclusiveMinimum": 0},
        },
        "required": ["column", "by"],
        "additionalProperties": False,
    }

    def configure(self, config, input):
        self.column, self.by = config["column"], config["by"]
        self.input = f"{self.column} double"

    def new_state(self):
        # Changed in place; it becomes JSON where the host keeps it.
        return {"last": None}

    def judge(self, alerts, state, value):
        if value is None:
            return
        last, state["last"] = state["last"], value
        if last is not None and abs(value - last) > self.by:
            alerts.push("JUMP", "WARNING", f"{self.column} went from {last:.1f} to {value:.1f}")
            weir.count("jumps")


Plugin, Rule = weir.export(Jump)
