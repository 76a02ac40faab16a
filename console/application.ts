/**
 * The HTTP application behind both listeners: reads bodies, validates requests against the table of endpoints, admits operators, and tells a
 * wrong method from a wrong path. Opens no listener, and has no routes (`add-endpoint.ts`).
 */

import swagger from '@fastify/swagger';
import { escapeJson } from '@rollcall/output';
import { Problem } from '@rollcall/protocol';
import fastify, { type FastifyInstance, LogController } from 'fastify';
import { serializerCompiler } from 'fastify-type-provider-zod';
import type { z } from 'zod';
import type { AccessControl, Admission } from './access.ts';
import type { Access } from './api/endpoint.ts';
import { apiDescription, describeTags } from './api-description.ts';
import type { IdempotentActs } from './idempotency.ts';
import { type AnswerProblem, type ProblemAnswersOptions, problemAnswers } from './problem-answers.ts';
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

export interface ApplicationOptions extends ProblemAnswersOptions {
  readonly access: AccessControl;
  readonly acts: IdempotentActs;
  readonly version: string;
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
    openapi: apiDescription(options.version),
    transform: describeTags,
  });
  return app;
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

/** `/v1/devices/:id` as a pattern, to tell a wrong method from a wrong path. */
function pathPattern(path: string): RegExp {
  return new RegExp(`^${path.replaceAll('.', '\\.').replace(/:[a-z]+/g, '[^/]+')}$`);
}
