/** A line of JSON for each thing that happens. */
exports.log = (event, fields) => console.log(JSON.stringify({ event, ...fields }));
