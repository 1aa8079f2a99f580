export interface Item {
  name: string;
  count: number;
}

/** What is still to be bought. */
export class ShoppingList {
  private readonly items = new Map<string, number>();

  add(name: string, count = 1): Item {
    const total = (this.items.get(name) ?? 0) + count;
    this.items.set(name, total);
    return { name, count: total };
  }

  all(): Item[] {
    return [...this.items].map(([name, count]) => ({ name, count })).sort((a, b) => a.name.localeCompare(b.name));
  }
}
