/** Operations of operators on certificate authorities: each step of a rotation, with its consequences for renewals and sessions. */

import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { Broker } from '../broker/index.ts';
import type { CaControl, SessionPage } from '../console/index.ts';
import type { Authority, RenewalSchedule } from '../enroll/index.ts';
import type { IssuerRecord, Registry } from '../registry/index.ts';
import { expectPlausibleClock } from './clock.ts';

const SESSIONS_AT_ONCE = 250;

export function createCaControl(deps: {
  readonly authority: Authority;
  readonly registry: Registry;
  readonly renewals: RenewalSchedule;
  readonly broker: Pick<Broker, 'sessionPage' | 'disconnectEverywhere'>;
  /** Of the nodes that run, those that answer enrollments and lack the key of an issuing CA. */
  readonly nodesWithoutKey?: ((id: string) => Promise<readonly string[]>) | undefined;
  readonly now: () => number;
  readonly log: Logger;
}): CaControl {
  const { authority, registry, renewals, broker, nodesWithoutKey, now, log } = deps;
  const { rotation } = authority;

  /** Ends sessions, on all nodes, whose identity has no valid certificate of another CA. */
  const disconnectStranded = async (id: string): Promise<void> => {
    const valid = new Set(authority.cas.issuing.map((ca) => ca.id));
    let page: SessionPage = { sessions: [], hasMore: true, unanswered: [] };
    while (page.hasMore) {
      page = await broker.sessionPage({ after: page.sessions.at(-1)?.clientId ?? '', limit: SESSIONS_AT_ONCE });
      for (const { identity, serial } of page.sessions) {
        if ((await registry.publishedStatus(id, serial)).state === 'unknown') continue;
        const held = await registry.listCertificates(identity);
        const hasOther = held.some(
          ({ issuerId, revokedAt, notAfter }) =>
            valid.has(issuerId ?? '') && revokedAt === undefined && notAfter > now(),
        );
        if (!hasOther) await broker.disconnectEverywhere(identity, 'operator');
      }
    }
  };

  return {
    list: async () => {
      const rootKeys = new Set(await rotation.rootKeys());
      const records = await registry.listIssuers();
      return Promise.all(
        records.map(async (record) => ({
          ...viewOf(record),
          hasKey:
            record.role === 'root'
              ? rootKeys.has(record.id)
              : authority.cas.issuing.some(({ id, signer }) => id === record.id && signer !== undefined),
          issued: record.role === 'root' ? 0 : await registry.countIssued(record.id),
          stranded: await registry.countStranded(record.id),
        })),
      );
    },
    stranded: async (id, most) => {
      const record = (await registry.listIssuers()).find((each) => each.id === id);
      if (record === undefined) throw new Problem('ca_unknown');
      if (record.state !== 'prepared') {
        const [count, holders] = await Promise.all([registry.countStranded(id), registry.listStranded(id, most)]);
        return { step: 'retire', count, holders };
      }
      const since = rotation.rootRequiredSince(id);
      if (since === undefined) return { step: 'activate', count: 0, holders: [] };
      const [count, holders] = await Promise.all([
        registry.countNotSeenSince(since),
        registry.listNotSeenSince(since, most),
      ]);
      return { step: 'activate', count, holders };
    },
    published: async () => ({
      cas: authority.status.describe(),
      ocspSigners: await authority.status.listOcspSigners(),
    }),
    prepare: async (role, actor) => {
      // The clock may have been changed since the start.
      expectPlausibleClock(now());
      return rotation.prepare(role, actor);
    },
    activate: async (id, strand, actor) => {
      await rotation.activate(id, strand, actor);
      // Others had some seconds to get it. It is activated whether they can be asked or not.
      const lacking = await nodesWithoutKey?.(id).catch((error: unknown) => {
        log.warn({ err: error, ca: id }, 'whether other nodes have the key of the CA is not known');
        return [];
      });
      if (lacking === undefined || lacking.length === 0) return;
      log.warn({ ca: id, nodes: lacking }, 'these nodes issue nothing: the key of the active issuing CA is not there');
    },
    taint: async (id, withinMs, actor) => {
      await rotation.taint(id, actor);
      return renewals.pull({ issuerId: id, withinMs, reason: 'ca_rotation', actor });
    },
    retire: async (id, strand, actor) => {
      await rotation.retire(id, strand, actor);
      if (strand > 0) await disconnectStranded(id);
    },
    request: () => rotation.request(),
    importChain: (pem, actor) => rotation.importChain(pem, actor),
    exportRoot: (passphrase, actor) => rotation.exportRoot(Buffer.from(passphrase), actor),
    removeRootKey: (id, actor) => rotation.forgetRoot(id, actor),
  };
}

function viewOf({ der: _der, chain: _chain, ...record }: IssuerRecord) {
  return record;
}
