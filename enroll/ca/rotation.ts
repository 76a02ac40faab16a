/**
 * How CAs are replaced while the fleet runs: prepare, activate, taint, retire; a new root that the old one
 * cross-certifies; an issuing CA that an external root signs; a root key that is exported and removed. One step runs at a
 * time. Each step writes its files first and then commits to the registry; a step that was interrupted is finished by
 * asking for it again.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { Actor, IssuerStore, Registry } from '../../registry/index.ts';
import type { Lifetimes, RandomBytes } from '../x509/profile.ts';
import type { CaDirectory, CaRole } from './ca-directory.ts';
import { createCaPreparation } from './ca-preparation.ts';
import type { CaSet } from './ca-set.ts';
import { encryptKey } from './encrypted-key.ts';
import { createExternalSigning } from './external-signing.ts';
import type { KeyStore } from './key-store.ts';
import type { RootKeys } from './root-keys.ts';
import { SerialQueue } from './serial-queue.ts';
import { countStranded, rootRequiredBy } from './stranded-devices.ts';

export interface Rotation {
  /**
   * Creates a CA that is in the trust bundle and signs nothing yet, or returns the one that is prepared already. Its id.
   * Problem `root_key_absent`.
   */
  prepare(role: CaRole, actor: Actor): Promise<string>;
  /**
   * Makes the prepared CA the one that signs. Problem `ca_would_strand` when more than `strandAtMost` devices may not
   * know its root, and no known root cross-certifies it.
   */
  activate(id: string, strandAtMost: number, actor: Actor): Promise<void>;
  taint(id: string, actor: Actor): Promise<void>;
  retire(id: string, strandAtMost: number, actor: Actor): Promise<void>;
  /** The certificate signing request of an issuing CA, PEM; the same one until its certificate is imported. */
  request(): Promise<string>;
  /** Imports the issuing CA that an external root signed, with its chain up to the root. Its id. Problem `ca_import_rejected`. */
  importChain(pem: string, actor: Actor): Promise<string>;
  /** The encrypted key of the root above the active issuing CA, PEM. The key stays on this machine. Problem `root_key_absent`. */
  exportRoot(passphrase: Buffer, actor: Actor): Promise<{ readonly id: string; readonly pem: string }>;
  /** Removes the key of a root from this machine. */
  forgetRoot(id: string, actor: Actor): Promise<void>;
  /** Since when the root above a prepared CA is in the trust bundle, if devices have to know it; undefined otherwise. */
  rootRequiredSince(id: string): number | undefined;
  /** Ids of the roots whose keys are on this machine. */
  rootKeys(): Promise<readonly string[]>;
}

export interface RotationOptions {
  readonly directory: CaDirectory;
  readonly keys: KeyStore;
  readonly rootKeys: RootKeys;
  readonly registry: IssuerStore & Pick<Registry, 'recordAction'>;
  readonly trustDomain: string;
  readonly lifetimes: Lifetimes;
  readonly sharesRegistry?: boolean | undefined;
  readonly randomBytes: RandomBytes;
  readonly now: () => number;
  readonly log: Logger;
  readonly cas: () => CaSet;
  /** Reloads the CAs and informs every part that uses them. */
  readonly onChanged: () => Promise<void>;
}

export function createRotation(options: RotationOptions): Rotation {
  const { registry, log, cas, rootKeys, onChanged } = options;
  const preparation = createCaPreparation(options);
  const external = createExternalSigning(options, preparation);
  const steps = new SerialQueue();
  const rootKeyExport = createRootKeyExport(options);

  return {
    prepare: (role, actor) =>
      steps.add(async () => {
        const prepared = cas().records.find((found) => found.role === role && found.state === 'prepared');
        if (prepared !== undefined) return prepared.id;
        return role === 'root' ? preparation.prepareRoot(actor) : preparation.prepareIssuing(actor);
      }),
    activate: (id, strandAtMost, actor) =>
      steps.add(async () => {
        await refuseToStrand(id, strandAtMost, options);
        if (options.sharesRegistry === true) await untilTrusted(id, options);
        await registry.activateIssuer(id, actor);
        log.info({ ca: id }, 'CA activated');
        await onChanged();
      }),
    taint: (id, actor) =>
      steps.add(async () => {
        await registry.taintIssuer(id, actor);
        log.info({ ca: id }, 'CA tainted');
        await onChanged();
      }),
    retire: (id, strandAtMost, actor) =>
      steps.add(async () => {
        await registry.retireIssuer(id, strandAtMost, actor);
        log.info({ ca: id }, 'CA retired');
        await onChanged();
      }),
    request: () => steps.add(() => external.request()),
    importChain: (text, actor) => steps.add(() => external.importChain(text, actor)),
    exportRoot: (passphrase, actor) => steps.add(() => rootKeyExport.encrypted(passphrase, actor)),
    forgetRoot: (id, actor) => steps.add(() => rootKeyExport.remove(id, actor)),
    rootRequiredSince: (id) => rootRequiredBy(id, cas())?.since,
    rootKeys: () => rootKeys.ids(),
  };
}

/** Other nodes look for changed CAs every second: so long after its preparation each of them that accepts connections trusts a CA, in ms. */
const TRUSTED_AFTER_MS = 3_000;

async function untilTrusted(id: string, { cas, now }: RotationOptions): Promise<void> {
  const prepared = cas().records.find((record) => record.id === id);
  const passed = prepared === undefined ? TRUSTED_AFTER_MS : Math.max(0, now() - prepared.preparedAt);
  await delay(Math.max(0, TRUSTED_AFTER_MS - passed));
}

/** Export and removal of a root's key. The audit entry is recorded before either takes effect. */
function createRootKeyExport({ directory, registry, rootKeys, cas, log, onChanged }: RotationOptions) {
  const record = (action: string, id: string, actor: Actor) =>
    registry.recordAction({ actor, action, subject: `ca/${id}`, outcome: 'done', details: {} });

  return {
    encrypted: async (passphrase: Buffer, actor: Actor) => {
      const { id } = cas().root;
      const { signer } = await rootKeys.require(id);
      if (signer.exportKey === undefined) {
        throw new Problem('ca_state_conflict', { detail: 'the root key is in a PKCS#11 token and cannot be exported' });
      }
      const pem = await encryptKey(signer.exportKey(), passphrase);
      await record('ca.root.exported', id, actor);
      log.warn({ ca: id }, 'root key exported');
      return { id, pem };
    },
    remove: async (id: string, actor: Actor) => {
      const { name } = await rootKeys.require(id);
      await record('ca.root.removed', id, actor);
      await directory.removeKey(name);
      log.warn({ ca: id }, 'root key removed from this machine');
      await onChanged();
    },
  };
}

async function refuseToStrand(id: string, strandAtMost: number, { cas, registry }: RotationOptions): Promise<void> {
  const stranded = await countStranded(id, cas(), registry);
  if (stranded === undefined || stranded.count <= strandAtMost) return;
  const { count, rootId } = stranded;
  throw new Problem('ca_would_strand', {
    detail: `${count} devices and services got no certificate since root ${rootId} is in the trust bundle, and may not know it`,
    hint: `have them renew first (rollcall renewals pull --all); --strand ${count} gives them up`,
  });
}
