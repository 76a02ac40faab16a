/** The route of an endpoint: its description, its schemas, and what happens around its handler. */

import { PROBLEM_MEDIA_TYPE, Problem } from '@rollcall/protocol';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { type Actor, runWithOrigin } from '../registry/index.ts';
import type { Admission } from './access.ts';
import { type Answer, type Checked, type Endpoint, isAct } from './api/endpoint.ts';
import { actHeaders, changeConditions, problemView, readConditions } from './api/schemas.ts';
import { accessDescription } from './api-description.ts';
import { entityTag, Preconditions } from './entity-tag.ts';
import type { IdempotentActs } from './idempotency.ts';

export interface CheckedRequest<E extends Endpoint> {
  readonly params: Checked<E, 'params'>;
  readonly query: Checked<E, 'query'>;
  readonly body: Checked<E, 'body'>;
  /** The operator, for audit entries. */
  readonly actor: Actor;
  readonly admission: Admission;
  /**
   * Of a tagged endpoint that changes: problem `precondition_failed` unless `If-Match` allows to change this, which is what
   * GET answers. To be called in the transaction of the change.
   */
  readonly expectMatch: (current: unknown) => void;
  readonly reply: FastifyReply;
}

/** Adds the route of an endpoint. A handler that sends the reply itself returns undefined. */
export function addEndpoint<const E extends Endpoint>(
  app: FastifyInstance,
  endpoint: E,
  handler: (request: CheckedRequest<E>) => Promise<Answer<E> | undefined> | Answer<E>,
): void {
  const nothing = z.strictObject({});
  const mediaType = endpoint.mediaType ?? 'application/json';
  const { isTagged = false } = endpoint;
  const isRead = endpoint.method === 'GET';
  app.route({
    method: endpoint.method,
    url: endpoint.path,
    config: { access: endpoint.access, needsRecentSignIn: endpoint.recentSignIn === 'always' },
    schema: {
      summary: endpoint.summary,
      ...accessDescription(endpoint),
      querystring: endpoint.query ?? nothing,
      ...(endpoint.params !== undefined && { params: endpoint.params }),
      ...headersOf(endpoint),
      ...(endpoint.method !== 'GET' && { body: endpoint.body ?? nothing.prefault({}) }),
      response: {
        200: { description: endpoint.summary, content: { [mediaType]: { schema: endpoint.answer } } },
        ...(isTagged && isRead && { 304: z.null().describe('the client has it') }),
        default: { description: 'a problem', content: { [PROBLEM_MEDIA_TYPE]: { schema: problemView } } },
      },
    },
    handler: async (request: FastifyRequest, reply: FastifyReply) => {
      const { admission } = request;
      if (admission === undefined) throw new Problem('operator_required');
      const preconditions = new Preconditions(request.headers);
      if (!isTagged && !isRead) preconditions.expectNone();
      const work = () =>
        handler({
          params: request.params as Checked<E, 'params'>,
          query: request.query as Checked<E, 'query'>,
          body: request.body as Checked<E, 'body'>,
          actor: admission.actor,
          admission,
          expectMatch: (current) => preconditions.expectMatch(current),
          reply,
        });
      const admitted = async () => (admission.origin === undefined ? work() : runWithOrigin(admission.origin, work));
      const answer = await (isAct(endpoint) ? performOnce(app.acts, request, reply, admitted) : admitted());
      if (reply.sent) return reply;
      if (isTagged && isRead) {
        const tag = entityTag(answer);
        reply.header('etag', tag);
        if (preconditions.isKnown(tag)) return reply.code(304).send();
      }
      return reply.type(mediaType).send(answer);
    },
  });
}

/** Once per idempotency key; a replayed answer has a header that says so. */
async function performOnce(
  acts: IdempotentActs,
  { method, url, body, headers, admission }: FastifyRequest,
  reply: FastifyReply,
  work: () => Promise<unknown>,
): Promise<unknown> {
  const { answer, isReplay } = await acts.perform(
    {
      operator: (admission as Admission).actor,
      header: headers['idempotency-key'] as string | undefined,
      identity: [method, url, body, headers['if-match']],
    },
    work,
  );
  if (isReplay) reply.header('idempotency-replayed', 'true');
  return answer;
}

function headersOf(endpoint: Endpoint) {
  const { method, isTagged, headers } = endpoint;
  if (isAct(endpoint)) return { headers: isTagged ? actHeaders.extend(changeConditions.shape) : actHeaders };
  const read = isTagged && method === 'GET' ? readConditions : headers;
  return read === undefined ? {} : { headers: read };
}
