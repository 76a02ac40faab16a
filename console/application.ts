/**
 * The HTTP application behind both listeners: reads bodies, validates requests against the table of endpoints, turns every
 * failure into `application/problem+json` in one place, and describes itself as OpenAPI 3.1. Opens no listener.
 */

import swagger from '@fastify/swagger';
import { escapeJson } from '@rollcall/output';
import { asProblem, PROBLEM_MEDIA_TYPE, Problem, problemDocument } from '@rollcall/protocol';
import fastify, {
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
} from 'fastify';
import { createJsonSchemaTransform, serializerCompiler } from 'fastify-type-provider-zod';
import type { Logger } from 'pino';
import { z } from 'zod';
import type { RefusalLog } from '../limits/index.ts';
import { type Actor, runWithOrigin } from '../registry/index.ts';
import type { AccessControl, Admission } from './access.ts';
import { type Access, type Answer, type Checked, type Endpoint, isAct } from './api/endpoint.ts';
import { actHeaders, changeConditions, problemView, readConditions } from './api/schemas.ts';
import { entityTag, Preconditions } from './entity-tag.ts';
import type { IdempotentActs } from './idempotency.ts';
import { exceedsDepth } from './untrusted-json.ts';
import { describeIssues, explainIssue } from './validation-messages.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: Access;
    needsRecentSignIn?: boolean;
  }
  interface FastifyInstance {
    acts: IdempotentActs;
  }
  interface FastifyRequest {
    /** Set before the handler of any route runs. */
    admission: Admission | undefined;
  }
}

export const MAX_BODY_BYTES = 1_048_576;
const MAX_BODY_DEPTH = 16;

const SESSION = { type: 'apiKey', in: 'cookie', name: '__Host-rollcall-session' } as const;
const BEARER = { type: 'http', scheme: 'bearer' } as const;
/** Each entry is an alternative. */
const SECURITY = {
  viewer: [{ operatorKey: [] }, { session: [] }],
  operator: [{ operatorKey: [] }, { session: [] }],
  admin: [{ operatorKey: [] }, { session: [] }],
  session: [{ session: [] }],
  metrics: [{ operatorKey: [] }, { session: [] }, { metricsKey: [] }],
  anyone: [],
  probe: [],
} satisfies Readonly<Record<Access, readonly Readonly<Record<string, string[]>>[]>>;

const ETAG_HEADER = { type: 'string', description: 'a strong entity tag (RFC 9110)' };

export interface ApplicationOptions {
  readonly access: AccessControl;
  readonly acts: IdempotentActs;
  readonly version: string;
  readonly now: () => number;
  readonly log: Logger;
  readonly refusalLog: RefusalLog;
}

/** The application without routes. Adding a route that does not declare its access throws. */
export async function createApplication(options: ApplicationOptions): Promise<FastifyInstance> {
  const { log } = options;
  const answerProblem = problemAnswers(options);
  const app = fastify({
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true }), // `problemAnswers` logs refusals with their reason
    bodyLimit: MAX_BODY_BYTES,
    exposeHeadRoutes: false,
    return503OnClosing: false,
    frameworkErrors: (error, _request, reply) => answerProblem(error, reply),
  }) as unknown as FastifyInstance;
  app.decorate('acts', options.acts);
  addHooks(app, options.access);
  app.setErrorHandler((error, _request, reply) => answerProblem(error, reply));
  answerUnknownPaths(app, answerProblem);
  acceptOnlyJson(app);
  app.setValidatorCompiler<z.ZodType>(({ schema, httpPart }) => (data) => {
    // A body that was not sent comes as null.
    const checked = schema.safeParse(data ?? undefined, { error: explainIssue });
    if (checked.success) return { value: checked.data };
    return { error: new Problem('request_invalid', { detail: describeIssues(checked.error, httpPart ?? 'request') }) };
  });
  app.setSerializerCompiler(serializerCompiler);
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Rollcall console', version: options.version, description: 'What operators can ask and order.' },
      components: {
        securitySchemes: {
          operatorKey: { ...BEARER, description: 'an API key, or the operator key' },
          session: {
            ...SESSION,
            description: 'an operator who signed in; a change also needs the header x-csrf-token',
          },
          metricsKey: BEARER,
        },
      },
      security: SECURITY.viewer,
    },
    transform: describeTags,
  });
  return app;
}

const describeRoute = createJsonSchemaTransform({});

/** The description of a route, with the response header that its schemas cannot state. */
const describeTags: typeof describeRoute = (route) => {
  const described = describeRoute(route);
  const { response } = described.schema as {
    readonly response?: Readonly<Record<string, { headers?: Record<string, unknown> }>>;
  };
  const answer = response?.[200];
  if (response?.[304] !== undefined && answer !== undefined) answer.headers = { etag: ETAG_HEADER };
  return described;
};

type AnswerProblem = (error: unknown, reply: FastifyReply) => void;

/** Answers a failure as `application/problem+json`, and logs its reason at a bounded rate. */
function problemAnswers({ log, refusalLog, now }: ApplicationOptions): AnswerProblem {
  return (error, reply) => {
    const problem = problemOf(error);
    const fields = { code: problem.code, reason: problem.reason, route: reply.request.routeOptions.url };
    const address = reply.request.ip ?? 'unix';
    if (problem.status < 500) refusalLog.write(log, 'debug', address, fields, 'operator request refused');
    else {
      const failure = { ...fields, err: problem.cause ?? problem };
      refusalLog.write(log, 'error', address, failure, 'operator request failed');
    }
    if (problem.retryAfter !== undefined) reply.header('retry-after', problem.retryAfter);
    if (problem.code === 'operator_required') reply.header('www-authenticate', 'Bearer realm="rollcall"');
    void reply
      .code(problem.status)
      .type(PROBLEM_MEDIA_TYPE)
      .send(JSON.stringify(problemDocument(problem, now())));
  };
}

function addHooks(app: FastifyInstance, access: AccessControl): void {
  app.decorateRequest('admission', undefined);
  app.addHook('onRequest', async (request, reply) => {
    reply.headers({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' });
    // A path without a route has no config and needs a role too: the answer does not show which paths exist.
    const { access: needed = 'viewer', needsRecentSignIn = false } = request.routeOptions.config ?? {};
    request.admission = await access.admit(request.raw, { access: needed, needsRecentSignIn });
  });
  // Escapes the JSON of every route, problem documents included, so that a terminal can print it.
  app.addHook('onSend', async (_request, _reply, payload) =>
    typeof payload === 'string' ? escapeJson(payload) : payload,
  );
}

/** Tells a wrong method, with the header `allow`, from a wrong path. */
function answerUnknownPaths(app: FastifyInstance, answerProblem: AnswerProblem): void {
  const methods: { readonly method: string; readonly path: RegExp }[] = [];
  app.addHook('onRoute', (route) => {
    if (route.config?.access === undefined) {
      throw new Error(`expected route ${route.method} ${route.url} to declare its access, found none`);
    }
    methods.push({ method: String(route.method), path: pathPattern(route.url) });
  });
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?', 1)[0] as string;
    const allowed = methods.filter((route) => route.path.test(path)).map((route) => route.method);
    if (allowed.length === 0) return answerProblem(new Problem('not_found'), reply);
    reply.header('allow', allowed.join(', '));
    return answerProblem(new Problem('method_not_allowed'), reply);
  });
}

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

/** Of the OpenAPI document. */
function accessDescription({ access, recentSignIn }: Endpoint) {
  const needed = neededText(access);
  const sentences = [
    ...(needed === undefined ? [] : [`Needs ${needed}.`]),
    ...(recentSignIn === undefined
      ? []
      : [
          `An operator who signed in needs a recent sign-in${recentSignIn === 'always' ? '' : ` for ${recentSignIn}`}.`,
        ]),
  ];
  return { security: SECURITY[access], ...(sentences.length > 0 && { description: sentences.join(' ') }) };
}

function neededText(access: Access): string | undefined {
  if (access === 'anyone' || access === 'probe') return undefined;
  if (access === 'session') return 'an operator who signed in';
  return access === 'metrics' ? 'the role viewer, or the metrics key' : `the role ${access}`;
}

/** Strict UTF-8, bounded nesting, no key that could reach a prototype. Bodies of other media types are not read. */
function acceptOnlyJson(app: FastifyInstance): void {
  const utf8 = new TextDecoder('utf-8', { fatal: true });
  const parse = app.getDefaultJsonParser('error', 'error');
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    let text: string;
    try {
      text = utf8.decode(body as Buffer);
    } catch {
      return done(new Problem('request_invalid', { detail: 'body: expected UTF-8' }));
    }
    if (text === '') return done(null, undefined);
    if (exceedsDepth(text, MAX_BODY_DEPTH)) {
      return done(new Problem('request_invalid', { detail: `body: expected at most ${MAX_BODY_DEPTH} levels` }));
    }
    return parse(request, text, done);
  });
}

const FRAMEWORK_PROBLEMS: Readonly<Record<string, () => Problem>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: () => new Problem('body_too_large'),
  FST_ERR_CTP_INVALID_MEDIA_TYPE: () =>
    new Problem('media_type_unsupported', { detail: 'expected a body of application/json' }),
  FST_ERR_CTP_INVALID_JSON_BODY: () => new Problem('request_invalid', { detail: 'body: expected JSON' }),
};

function problemOf(error: unknown): Problem {
  if (error instanceof Problem) return error;
  const { code, statusCode, message } = error as FastifyError;
  const known = Object.hasOwn(FRAMEWORK_PROBLEMS, String(code)) ? FRAMEWORK_PROBLEMS[code]?.() : undefined;
  if (known !== undefined) return known;
  if (statusCode !== undefined && statusCode < 500) return new Problem('request_invalid', { reason: message });
  return asProblem(error);
}

/** `/v1/devices/:id` as a pattern, to tell a wrong method from a wrong path. */
function pathPattern(path: string): RegExp {
  return new RegExp(`^${path.replaceAll('.', '\\.').replace(/:[a-z]+/g, '[^/]+')}$`);
}
