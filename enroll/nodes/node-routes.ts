/** Routes of the EST server for nodes of the fleet: one that joins, and the certificates of those that did. */

import { isIP } from 'node:net';
import {
  canonicalHost,
  NODE_NAME,
  NODE_PATHS,
  NODE_REQUEST_MAX,
  NODE_ROLES,
  type NodeCertificateRequest,
  type NodeJoinAnswer,
  type NodeJoinRequest,
  type NodeRole,
  Problem,
} from '@rollcall/protocol';
import type { FastifyInstance } from 'fastify';
import type { ClientAddresses } from '../../limits/index.ts';
import type { NodeStore } from '../../registry/index.ts';
import type { ClientAuthentication } from '../est/client-authentication.ts';
import type { NodeCertificates } from './node-certificates.ts';

export interface JoinOrder extends NodeJoinRequest {
  readonly name: string;
  readonly token: { readonly id: string; readonly secret: string };
  readonly address: string;
}

export interface NodeEnrollment {
  readonly registry: Pick<NodeStore, 'findNodeByCertificate'>;
  readonly certificates: NodeCertificates;
  /** Checks the token, makes what the node needs, and uses the token up. Throws Problem `token_rejected`, `node_exists` ... */
  join(order: JoinOrder): Promise<NodeJoinAnswer>;
}

export interface NodeRouteDeps {
  readonly nodes: NodeEnrollment;
  readonly authentication: ClientAuthentication;
  readonly addresses: ClientAddresses;
}

const HOSTS_AT_MOST = 32;
const HOST_NAME = /^(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/;
const TEXT_AT_MOST = 8_192;

export function addNodeRoutes(app: FastifyInstance, { nodes, authentication, addresses }: NodeRouteDeps): void {
  // JSON is a body of these routes alone.
  app.register(async (scope) => {
    scope.addContentTypeParser(
      'application/json',
      { parseAs: 'buffer', bodyLimit: NODE_REQUEST_MAX },
      (_, body, done) => done(null, body),
    );
    scope.post(NODE_PATHS.join, { config: { authentication: 'token' } }, async (request, reply) => {
      const { token, deviceId: name } = authentication.credential(request);
      if (name === undefined || !NODE_NAME.test(name)) throw invalid('expected the name of the node as user name');
      const address = addresses.of(request.raw.socket);
      reply.header('cache-control', 'no-store');
      return nodes.join({ ...readJoin(request.body), name, token, address });
    });
    scope.post(NODE_PATHS.certificate, { config: { authentication: 'node' } }, async (request, reply) => {
      const order = readCertificateRequest(request.body);
      const certificate = await nodes.certificates.renew(authentication.node(request), order);
      reply.header('cache-control', 'no-store');
      return nodes.certificates.answer(certificate);
    });
  });
}

function readJoin(body: unknown): NodeJoinRequest {
  const { roles, hosts, csr, passwordVerifier, transferKey, ...more } = readObject(body);
  expectNothing(more);
  const found = listOf(roles, NODE_ROLES.length).filter((role): role is NodeRole =>
    (NODE_ROLES as readonly string[]).includes(role),
  );
  if (found.length === 0 || found.length !== new Set(listOf(roles, NODE_ROLES.length)).size) {
    throw invalid(`expected roles of ${NODE_ROLES.join(', ')}`);
  }
  const names = listOf(hosts, HOSTS_AT_MOST);
  const isHost = (host: string) => canonicalHost(host) === host && (isIP(host) !== 0 || HOST_NAME.test(host));
  if (names.length === 0 || !names.every(isHost)) throw invalid('expected host names and addresses');
  return {
    roles: found,
    hosts: [...new Set(names)],
    csr: textOf(csr),
    passwordVerifier: textOf(passwordVerifier),
    transferKey: textOf(transferKey),
  };
}

function readCertificateRequest(body: unknown): NodeCertificateRequest {
  const { purpose, csr, ...more } = readObject(body);
  expectNothing(more);
  if (purpose !== 'node' && purpose !== 'broker' && purpose !== 'console') throw invalid('expected a purpose');
  return { purpose, csr: textOf(csr) };
}

function readObject(body: unknown): Record<string, unknown> {
  try {
    const found: unknown = JSON.parse((body as Buffer).toString('utf8'));
    if (typeof found === 'object' && found !== null && !Array.isArray(found)) return found as Record<string, unknown>;
  } catch {}
  throw invalid('expected a JSON object');
}

function expectNothing(more: object): void {
  if (Object.keys(more).length > 0) throw invalid('expected no other members');
}

function listOf(value: unknown, most: number): readonly string[] {
  if (Array.isArray(value) && value.length <= most && value.every((each) => typeof each === 'string')) return value;
  throw invalid('expected a list of texts');
}

function textOf(value: unknown): string {
  if (typeof value === 'string' && value.length > 0 && value.length <= TEXT_AT_MOST) return value;
  throw invalid('expected a text');
}

function invalid(detail: string): Problem {
  return new Problem('request_invalid', { detail });
}
