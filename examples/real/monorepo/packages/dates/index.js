const { addBusinessDays, formatISO, parseISO } = require("date-fns");

/** The day that is so many working days after a day, both as 2024-05-17. */
exports.due = (day, workingDays) => formatISO(addBusinessDays(parseISO(day), workingDays), { representation: "date" });
