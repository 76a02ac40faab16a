/** Says where the next page of an answer is, by the link relation "next" (RFC 8288). */

import type { FastifyReply } from 'fastify';

/** The same question with another cursor. */
export function linkNext(reply: FastifyReply, cursor: Readonly<Record<string, string | number>>): void {
  const [path = '', search] = reply.request.url.split('?', 2);
  const query = new URLSearchParams(search);
  for (const [name, value] of Object.entries(cursor)) query.set(name, String(value));
  reply.header('link', `<${path}?${query}>; rel="next"`);
}
