const http = require("node:http");

const { due } = require("@calendar/dates");
const { log } = require("@calendar/log");

const server = http.createServer((request, response) => {
  const match = request.url.match(/^\/due\/(\d{4}-\d\d-\d\d)\/(\d+)$/);
  log("request", { url: request.url });
  response.statusCode = match ? 200 : request.url === "/healthz" ? 200 : 404;
  response.end(match ? `${due(match[1], Number(match[2]))}\n` : "");
});
server.listen(Number(process.env.PORT), () => log("listening", { port: process.env.PORT }));
process.on("SIGTERM", () => server.close(() => process.exit(0)));
