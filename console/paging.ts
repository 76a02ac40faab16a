/** Pages of a list: limited in items and in bytes, with a link to the next page (RFC 8288, relation "next"). */

import type { FastifyReply } from 'fastify';

/** Query parameters; undefined removes one. */
type Cursor = Readonly<Record<string, string | number | undefined>>;

/** Of JSON in one answer. */
const MAX_PAGE_BYTES = 16_777_216;

export interface PageOptions<Item, View> {
  readonly limit: number;
  view(item: Item): View;
  /** Query parameters of the page after this item. */
  cursor(item: Item): Cursor;
}

/** As many items as the limit and the bytes allow, at least one. An empty page is the end. */
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

/** Sets the link to the same request with another cursor. */
export function setNextLink(reply: FastifyReply, cursor: Cursor): void {
  const [path = '', search] = reply.request.url.split('?', 2);
  const query = new URLSearchParams(search);
  for (const [name, value] of Object.entries(cursor)) {
    if (value === undefined) query.delete(name);
    else query.set(name, String(value));
  }
  reply.header('link', `<${path}?${query}>; rel="next"`);
}
