/** Answers that are pages: bounded in their items and in their bytes, with the link to the next one (RFC 8288, relation "next"). */

import type { FastifyReply } from 'fastify';

type Cursor = Readonly<Record<string, string | number>>;

/** Of JSON in one answer. */
const MAX_PAGE_BYTES = 16_777_216;

export interface PageOptions<Item, View> {
  readonly limit: number;
  view(item: Item): View;
  /** What asks for the page that begins behind this item. */
  cursor(item: Item): Cursor;
}

/** As many as the limit and the bytes allow, and one at least. An empty page is the end. */
export function pageOf<Item, View>(
  reply: FastifyReply,
  items: Iterable<Item>,
  paging: PageOptions<Item, View>,
): View[] {
  const views: View[] = [];
  let bytes = 0;
  let last: Item | undefined;
  for (const item of items) {
    if (views.length === paging.limit) break;
    const view = paging.view(item);
    bytes += Buffer.byteLength(JSON.stringify(view));
    if (bytes > MAX_PAGE_BYTES && views.length > 0) break;
    views.push(view);
    last = item;
  }
  if (last !== undefined) setNextLink(reply, paging.cursor(last));
  return views;
}

/** The same question with another cursor. */
export function setNextLink(reply: FastifyReply, cursor: Cursor): void {
  const [path = '', search] = reply.request.url.split('?', 2);
  const query = new URLSearchParams(search);
  for (const [name, value] of Object.entries(cursor)) query.set(name, String(value));
  reply.header('link', `<${path}?${query}>; rel="next"`);
}
