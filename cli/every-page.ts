/** Reads a list that comes in pages to its end. */

/** `read` is asked for the page behind an item; undefined asks for the first. An empty page is the end. */
export async function everyPage<Item>(
  read: (last: Item | undefined) => Promise<readonly Item[]>,
): Promise<readonly Item[]> {
  const all: Item[] = [];
  for (;;) {
    const page = await read(all.at(-1));
    if (page.length === 0) return all;
    for (const item of page) all.push(item);
  }
}
