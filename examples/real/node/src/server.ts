import express from "express";

import { ShoppingList } from "./list";

const list = new ShoppingList();
list.add("bread");

const app = express();
app.disable("x-powered-by");
app.use(express.json());
app.get("/healthz", (_request, response) => {
  response.type("text").send("ok\n");
});
app.get("/items", (_request, response) => {
  response.json(list.all());
});
app.post("/items/:name", (request, response) => {
  response.status(201).json(list.add(request.params.name, Number(request.body?.count ?? 1)));
});

const server = app.listen(Number(process.env.PORT), () => {
  console.log(`listening on ${process.env.PORT}`);
});
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => server.close(() => process.exit(0)));
}
