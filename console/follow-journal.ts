/** Answers a request to follow a journal: server-sent events, which resume, or lines of JSON from now on. */

import type { FastifyReply } from 'fastify';
import type { Admission } from './access.ts';
import { acceptedForm, findStreamStart, type StreamSource, streamEvents } from './event-stream.ts';
import type { Followers } from './followers.ts';
import type { FollowJournal } from './live-feed.ts';

/** One journal, behind the filter of the reader. */
export interface FollowedJournal {
  readonly source: StreamSource;
  readonly newest: FollowJournal;
}

/** The reply is sent. Problem `unavailable` when there are too many followers. */
export async function followJournal(
  followers: Followers,
  { admission, reply }: { readonly admission: Admission; readonly reply: FastifyReply },
  { source, newest }: FollowedJournal,
): Promise<undefined> {
  const { headers } = reply.request;
  const form = acceptedForm(headers);
  const start = await findStreamStart(source, headers);
  followers.start(reply.raw, {
    admission,
    headers: reply.getHeaders() as Record<string, string>,
    form,
    subscribe: (flow) =>
      form === 'sse' ? streamEvents(source, start, flow) : newest(({ json }) => flow.send(`${json}\n`)),
  });
  reply.hijack();
  return undefined;
}
