"""A rule that learns what is usual for each key, and tells what is not.

It keeps an exponentially weighted mean and variance of a column, and raises an
alert where a value is further from the mean than so many standard deviations.
"""

import math

import weir


class Anomaly(weir.KeyedRule):
    name = "anomaly"
    version = "0.1.0"
    description = "Finds values that are unusual for their key, by an exponentially weighted mean."
    config_schema = {
        "type": "object",
        "properties": {
            "column": {"type": "string", "minLength": 1},
            "alpha": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            "deviations": {"type": "number", "exclusiveMinimum": 0},
            "warm_up": {"type": "integer", "minimum": 2},
        },
        "required": ["column"],
        "additionalProperties": False,
    }

    def configure(self, config, input):
        self.column = config["column"]
        # The weight of the newest value; 0.1 remembers about the last 20.
        self.alpha = config.get("alpha", 0.1)
        self.deviations = config.get("deviations", 4.0)
        self.warm_up = config.get("warm_up", 10)
        self.input = f"{self.column} double"

    def new_state(self):
        return {"n": 0, "mean": 0.0, "variance": 0.0}

    def judge(self, alerts, state, value):
        if value is None or not math.isfinite(value):
            return
        away = value - state["mean"]
        deviation = math.sqrt(state["variance"])
        if state["n"] >= self.warm_up and abs(away) > self.deviations * deviation > 0:
            times = abs(away) / deviation
            severity = "CRITICAL" if times > 2 * self.deviations else "WARNING"
            usual = f"usual is {state['mean']:.2f} ± {deviation:.2f}"
            alerts.push("ANOMALY", severity, f"{self.column} is {value:.2f}, {usual}")
            weir.count("anomalies")
        if state["n"] == 0:
            state["mean"] = value
        else:
            step = self.alpha * away
            state["mean"] += step
            state["variance"] = (1 - self.alpha) * (state["variance"] + away * step)
        state["n"] += 1


Plugin, Rule = weir.export(Anomaly)
