/** Reads all pages of a list. */

/** `read` returns the page after an item, the first page for undefined, and an empty page at the end. */
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
