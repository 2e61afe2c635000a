// A rule that tells where a vehicle enters a zone and where it leaves it.
//
// A zone is a circle around a place. The rule remembers for each key in which zones it
// was last, so that it speaks at the border only.

import { Problem, count, keyedRule } from "weir";

const EARTH_RADIUS_M = 6_371_008.8;
const radians = (degrees) => (degrees * Math.PI) / 180;

/** The way along the surface between two places, by the haversine formula. */
function metresBetween(lat1, lon1, lat2, lon2) {
  const north = Math.sin(radians(lat2 - lat1) / 2) ** 2;
  const east = Math.sin(radians(lon2 - lon1) / 2) ** 2;
  return 2 * EARTH_RADIUS_M * Math.asin(Math.sqrt(north + Math.cos(radians(lat1)) * Math.cos(radians(lat2)) * east));
}

export const { plugin, rule } = keyedRule({
  name: "geofence",
  version: "0.1.0",
  description: "Tells where a key enters and leaves circular zones.",
  configSchema: {
    type: "object",
    properties: {
      zones: {
        type: "array",
        minItems: 1,
        items: {
          type: "object",
          properties: {
            name: { type: "string", minLength: 1 },
            lat: { type: "number", minimum: -90, maximum: 90 },
            lon: { type: "number", minimum: -180, maximum: 180 },
            radius_m: { type: "number", exclusiveMinimum: 0 },
            severity: { type: "string" },
          },
          required: ["name", "lat", "lon", "radius_m"],
          additionalProperties: false,
        },
      },
    },
    required: ["zones"],
    additionalProperties: false,
  },
  input: "lat double, lon double",

  configure({ zones }) {
    this.zones = zones;
    const names = zones.map((zone) => zone.name);
    return names.flatMap((name, index) =>
      names.indexOf(name) === index ? [] : [new Problem(`zones.${index}.name`, `there is another zone "${name}"`)],
    );
  },

  // The names of the zones that it is in, null before the first position: who is
  // inside from the start has not entered.
  newState() {
    return { inside: null };
  },

  judge(alerts, state, lat, lon) {
    if (lat === null || lon === null) return;
    const inside = [];
    for (const zone of this.zones) {
      const { name, severity = "INFO" } = zone;
      const metres = metresBetween(lat, lon, zone.lat, zone.lon);
      const is = metres <= zone.radius_m;
      if (is) inside.push(name);
      if (state.inside === null) continue;
      const was = state.inside.includes(name);
      if (is && !was) alerts.push("ENTERED", severity, `entered ${name}, ${Math.round(metres)} m from its middle`);
      if (was && !is) alerts.push("LEFT", severity, `left ${name}, ${Math.round(metres)} m from its middle`);
      if (is !== was) count("crossings");
    }
    state.inside = inside;
  },
});
