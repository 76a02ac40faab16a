/** How a host becomes a node of the fleet, and how what it got is taken back: its token, certificate and database role. */

import { readFileSync } from 'node:fs';
import { type NodeJoinAnswer, Problem } from '@rollcall/protocol';
import type { CreatedNodeToken, NodeTokenView } from '../../console/index.ts';
import { type Authority, encryptKeys, type JoinOrder } from '../../enroll/index.ts';
import type { Actor } from '../../registry/index.ts';
import type { SharedRegistry } from '../../registry/open.ts';
import { isPasswordVerifier, nodeRoleName } from '../../storage/postgres/index.ts';
import { STORE_WAKES } from '../config/store-config.ts';
import type { ServerContext } from '../context.ts';
import type { Cluster } from './cluster.ts';

export interface NodeJoinsOptions extends Pick<ServerContext, 'config' | 'log'> {
  readonly cluster: Pick<Cluster, 'node' | 'nodes' | 'databaseRoles' | 'admit'>;
  readonly registry: Pick<
    SharedRegistry,
    'createNodeToken' | 'listNodeTokens' | 'revokeNodeToken' | 'admitNodeToken' | 'commitNode' | 'removeNode'
  >;
}

const USER = /^(postgres(?:ql)?:\/\/)(?:[^@/]*@)?(.*)$/;

export class NodeJoins {
  readonly #options: NodeJoinsOptions;

  constructor(options: NodeJoinsOptions) {
    this.#options = options;
  }

  /** Throws Problem `database_roles_refused`: the node that joins would be refused. */
  async createToken(
    order: { readonly withCaKeys: boolean; readonly ttlSeconds: number },
    actor: Actor,
  ): Promise<CreatedNodeToken> {
    const { cluster, registry } = this.#options;
    await cluster.databaseRoles.expectRights();
    const { record, secret } = await registry.createNodeToken(order, actor);
    return { id: record.id, expiresAt: record.expiresAt, withCaKeys: record.withCaKeys, secret };
  }

  listTokens(page: { readonly after: string; readonly limit: number }): Promise<readonly NodeTokenView[]> {
    return this.#options.registry.listNodeTokens(page);
  }

  /** Throws Problem `node_token_unknown`. */
  revokeToken(id: string, actor: Actor): Promise<NodeTokenView> {
    return this.#options.registry.revokeNodeToken(id, actor);
  }

  /** Throws Problem `token_rejected`, `request_invalid`, `node_exists`, `database_roles_refused`, `csr_...`. */
  async join(order: JoinOrder, authority: Authority): Promise<NodeJoinAnswer> {
    const { cluster, registry, log } = this.#options;
    const { name, roles, hosts, csr, passwordVerifier, token, address } = order;

    // 1. The token may do this, and nobody has the name now.
    const { withCaKeys } = await registry.admitNodeToken(token);
    const isIssuing = roles.includes('enroll');
    if (isIssuing && !withCaKeys) {
      throw invalid('the role enroll needs keys of the CA: make the token with --with-ca-keys');
    }
    if (!isPasswordVerifier(passwordVerifier)) throw invalid('expected a verifier of SCRAM-SHA-256');
    const alive = (await cluster.nodes()).find((node) => node.name === name && node.liveness.state !== 'gone');
    if (alive !== undefined) throw new Problem('node_exists', { reason: `node ${name} is ${alive.liveness.state}` });
    const exported = isIssuing ? await authority.exportForNode() : undefined;
    const keys =
      exported && Object.keys(exported.keys).length > 0 ? encryptKeys(exported.keys, order.transferKey) : undefined;

    // 2. A role that cannot log in, and a certificate; both count from the commit that uses the token up.
    const databaseRole = nodeRoleName(name);
    await cluster.databaseRoles.create(databaseRole);
    const certificate = await authority.nodes
      .issue(name, csr)
      .catch((error: unknown) => this.#discard(databaseRole, error));
    const joined = { name, roles, hosts, databaseRole, token, certificate, address, withCaKeys: keys !== undefined };
    const { formerRole } = await registry
      .commitNode(joined)
      .catch((error: unknown) => this.#discard(databaseRole, error));
    await cluster.admit(name, roles);
    await cluster.databaseRoles.enable(databaseRole, passwordVerifier);
    if (formerRole !== undefined) await cluster.databaseRoles.remove(formerRole);
    log.warn({ node: name, roles, hosts, address, caKeys: keys !== undefined }, 'a node has joined');
    return {
      ...authority.nodes.answer(certificate),
      ...this.#settings(databaseRole),
      authority: exported && { home: keys === undefined ? 'pkcs11' : 'file', files: exported.files, keys },
    };
  }

  /** Revokes what a node got. Returns the SQL that a superuser has to run, where this node may not. */
  async remove(name: string, actor: Actor): Promise<readonly string[]> {
    const { cluster, registry, log } = this.#options;
    const joined = await registry.removeNode(name, actor);
    if (joined === undefined) return [];
    const removed = await cluster.databaseRoles.remove(joined.databaseRole);
    if (removed.sql.length > 0) log.error({ node: name, ...removed }, 'the database role of a removed node is left');
    return removed.sql;
  }

  async #discard(role: string, error: unknown): Promise<never> {
    await this.#options.cluster.databaseRoles.remove(role).catch(() => {});
    throw error;
  }

  #settings(role: string): Pick<NodeJoinAnswer, 'trustDomain' | 'store' | 'ports' | 'retentionAge'> {
    const { store, trustDomain, enroll, mqtt, console: operators, telemetry } = this.#options.config;
    const { schema, standbys, connections, caFile, url, wakes } = store;
    return {
      trustDomain,
      store: {
        ...{ schema, standbys, connections },
        url: url.replace(USER, `$1${encodeURIComponent(role)}@$2`),
        wakes: wakes.url === STORE_WAKES ? undefined : { url: wakes.url, subject: wakes.subject },
        caPem: caFile === '' ? undefined : readFileSync(caFile, 'utf8'),
      },
      ports: { enroll: enroll.port, mqtt: mqtt.port, console: operators.port },
      retentionAge: telemetry.retention.age,
    };
  }
}

function invalid(detail: string): Problem {
  return new Problem('request_invalid', { detail });
}
