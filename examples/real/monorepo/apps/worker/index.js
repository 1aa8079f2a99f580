const { due } = require("@calendar/dates");
const { log } = require("@calendar/log");

for (const day of process.argv.slice(2)) {
  log("reminder", { day, due: due(day, 5) });
}
