const assert = require("node:assert");
const test = require("node:test");

const { ShoppingList } = require("../dist/list");

test("adding twice counts", () => {
  const list = new ShoppingList();
  list.add("tea");
  assert.deepStrictEqual(list.add("tea", 2), { name: "tea", count: 3 });
});

test("the list is in order", () => {
  const list = new ShoppingList();
  list.add("tea");
  list.add("bread");
  assert.deepStrictEqual(list.all().map((item) => item.name), ["bread", "tea"]);
});
