// Azurite's blob service, for as long as its standard input is open: whoever
// started it holds the other end, and lets go of it however it dies.
"use strict";
process.stdin.on("end", () => process.exit(0)).on("error", () => process.exit(0)).resume();
require("azurite/dist/src/blob/main.js");
