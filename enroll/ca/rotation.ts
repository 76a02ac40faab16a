/**
 * How CAs change while the fleet goes on: prepare, activate, taint, retire; a new root that the old one vouches for; an
 * issuing CA that a root elsewhere signs; a root key that leaves. One step at a time. Files come first, the registry's
 * transaction decides, and a step that was killed half-way is finished by asking for it again.
 */

import { X509Certificate } from 'node:crypto';
import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { Actor, IssuerStore, NewIssuer, Registry } from '../../registry/index.ts';
import { readIssuer } from '../x509/certificate-check.ts';
import { pem } from '../x509/pem.ts';
import { caContents, crossCertificateContents, type Lifetimes, type RandomBytes } from '../x509/profile.ts';
import { writeCertificate } from '../x509/x509-writer.ts';
import type { CaDirectory, CaName, CaRole } from './ca-directory.ts';
import { type CaSet, caId, certificatesInPem } from './ca-set.ts';
import { encryptKey } from './encrypted-key.ts';
import { checkImportedChain } from './imported-chain.ts';
import { writeIssuingCaCsr } from './issuing-ca-csr.ts';
import type { KeyStore } from './key-store.ts';
import type { Signer } from './signer.ts';

export interface Rotation {
  /** A CA that is in the trust bundle and signs nothing yet; the one that is prepared when there is one. Its id. Problem `root_key_absent`. */
  prepare(role: CaRole, actor: Actor): Promise<string>;
  /**
   * The prepared CA signs from now on. Problem `ca_would_strand` when devices can't know its root, and nothing they
   * know vouches for it.
   */
  activate(id: string, strandAtMost: number, actor: Actor): Promise<void>;
  taint(id: string, actor: Actor): Promise<void>;
  retire(id: string, strandAtMost: number, actor: Actor): Promise<void>;
  /** PEM; the same again while it waits for its certificate. */
  request(): Promise<string>;
  /** The issuing CA that answers {@link Rotation.request}, with its chain up to the root. Its id. Problem `ca_import_rejected`. */
  importChain(pem: string, actor: Actor): Promise<string>;
  /** The key of the root above the active issuing CA, sealed; PEM. It stays here until it is forgotten. Problem `root_key_absent`. */
  exportRoot(passphrase: Buffer, actor: Actor): Promise<{ readonly id: string; readonly pem: string }>;
  forgetRoot(id: string, actor: Actor): Promise<void>;
  /** Ids of the roots whose key is here. */
  rootKeys(): Promise<readonly string[]>;
  /** Undefined when its key is not here. */
  rootSigner(id: string): Promise<Signer | undefined>;
}

export function createRotation(options: {
  readonly directory: CaDirectory;
  readonly home: KeyStore;
  readonly registry: IssuerStore & Pick<Registry, 'recordAction'>;
  readonly trustDomain: string;
  readonly lifetimes: Lifetimes;
  readonly randomBytes: RandomBytes;
  readonly now: () => number;
  readonly log: Logger;
  readonly current: () => CaSet;
  /** Reads what is here anew, and tells everyone. */
  readonly changed: () => Promise<void>;
}): Rotation {
  const { directory, home, registry, trustDomain, lifetimes, now, log, current } = options;
  const { backdateSeconds } = lifetimes;

  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <Result>(work: () => Promise<Result>): Promise<Result> => {
    const result = last.then(work);
    last = result.catch(() => undefined);
    return result;
  };

  const rootNames = async (): Promise<readonly CaName[]> =>
    [...(await directory.names('key')), ...(await directory.names('uri'))].filter((name) => name.startsWith('root'));

  const findRootKey = async (id: string): Promise<{ readonly name: CaName; readonly signer: Signer } | undefined> => {
    for (const name of await rootNames()) {
      const signer = await home.open(name);
      if (signer !== undefined && caId(signer.publicKeySpki) === id) return { name, signer };
    }
    return undefined;
  };

  const needRootKey = async (id: string): Promise<{ readonly name: CaName; readonly signer: Signer }> => {
    const found = await findRootKey(id);
    if (found !== undefined) return found;
    throw new Problem('root_key_absent', {
      detail: `the key of root ${id} is not on this machine`,
      hint: 'rollcall ca csr > issuing.csr; sign it where the key is with "rollcall ca sign"; then rollcall ca import',
    });
  };

  const nameFor = async (
    role: CaRole,
    reserved: boolean,
  ): Promise<{ readonly name: CaName; readonly signer: Signer }> => {
    const [keys, uris, made, asked] = await Promise.all(
      (['key', 'uri', 'pem', 'csr'] as const).map((kind) => directory.names(kind)),
    );
    // A key that nothing was made of is what a crash left: nobody has seen it, so it is taken.
    const unused = [...(keys ?? []), ...(uris ?? [])].find(
      (name) => name.startsWith(`${role}-`) && !made?.includes(name) && (asked?.includes(name) ?? false) === reserved,
    );
    if (unused !== undefined) {
      const signer = await home.open(unused);
      if (signer !== undefined) return { name: unused, signer };
    }
    const name = directory.newName(role);
    return { name, signer: await home.create(name) };
  };

  const record = async (issuers: readonly NewIssuer[], actor: Actor): Promise<void> => {
    await registry.addIssuers(issuers, actor);
    for (const { id, role, notAfter } of issuers) {
      log.info({ ca: id, role, notAfter: new Date(notAfter).toISOString() }, 'CA prepared');
    }
    await options.changed();
  };

  const prepared = (role: CaRole) =>
    current().records.find((found) => found.role === role && found.state === 'prepared');

  /** A certificate that was signed and not recorded before a crash; it is as good as new. */
  const unrecorded = async (role: CaRole, rootId: string | undefined): Promise<NewIssuer | undefined> => {
    for (const name of await directory.names('pem')) {
      const text = await directory.readText(name, 'pem');
      if (!name.startsWith(`${role}-`) || text === undefined) continue;
      const [der, ...chain] = certificatesInPem(text);
      if (der === undefined) continue;
      const issuer = newIssuer(role, der, rootId, chain);
      const isKnown = current().records.some(({ id }) => id === issuer.id);
      const root = current().roots.find(({ id }) => id === rootId);
      const isOurs = role === 'root' || (root !== undefined && new X509Certificate(der).verify(root.publicKey));
      if (!isKnown && isOurs && issuer.notAfter > now()) return issuer;
    }
    return undefined;
  };

  const signingRoot = (): string => {
    const { roots } = current();
    return (
      roots.find(({ record }) => record.state === 'prepared') ??
      roots.find(({ record }) => record.state === 'active') ??
      current().root
    ).id;
  };

  const prepareIssuing = async (actor: Actor): Promise<string> => {
    const rootId = signingRoot();
    const left = await unrecorded('issuing', rootId);
    if (left !== undefined) {
      await record([left], actor);
      return left.id;
    }
    const root = current().roots.find(({ id }) => id === rootId);
    const rootKey = await needRootKey(rootId);
    if (root === undefined)
      throw new Problem('internal', { reason: 'expected the root that signs among those that count' });
    const { name, signer } = await nameFor('issuing', false);
    const contents = caContents({
      role: 'issuing',
      issuer: root,
      trustDomain,
      publicKeySpki: signer.publicKeySpki,
      lifetimes,
      now: now(),
      randomBytes: options.randomBytes,
    });
    const der = await writeCertificate(contents, rootKey.signer);
    const issuer = newIssuer('issuing', der, rootId, certificatesInPem(root.record.chain));
    await directory.writeCertificate(name, der, issuer.chain);
    await record([issuer], actor);
    return issuer.id;
  };

  const prepareRoot = async (actor: Actor): Promise<string> => {
    const left = await unrecorded('root', undefined);
    if (left !== undefined) {
      await record([left], actor);
      return left.id;
    }
    const old = current().root;
    const oldKey = await needRootKey(old.id);
    const { name, signer } = await nameFor('root', false);
    const contents = caContents({
      role: 'root',
      issuer: undefined,
      trustDomain,
      publicKeySpki: signer.publicKeySpki,
      lifetimes,
      now: now(),
      randomBytes: options.randomBytes,
    });
    const der = await writeCertificate(contents, signer);
    const cross = await crossSign(der, old, oldKey.signer);
    const issuer = newIssuer('root', der, undefined, [cross]);
    await directory.writeCertificate(name, der, issuer.chain);
    await record([issuer], actor);
    return issuer.id;
  };

  const crossSign = (rootDer: Buffer, by: CaSet['root'], signer: Signer): Promise<Buffer> =>
    writeCertificate(
      crossCertificateContents({
        root: readIssuer(rootDer),
        by,
        backdateSeconds,
        now: now(),
        randomBytes: options.randomBytes,
      }),
      signer,
    );

  const importChain = async (text: string, actor: Actor): Promise<string> => {
    const waiting = new Map<string, CaName>();
    for (const name of await directory.names('csr')) {
      const signer = await home.open(name);
      if (signer !== undefined) waiting.set(caId(signer.publicKeySpki), name);
    }
    if (waiting.size === 0) {
      throw new Problem('ca_import_rejected', {
        detail: 'expected a request that waits to be signed, found none; see "rollcall ca csr"',
      });
    }
    const { issuing, intermediates, root } = checkImportedChain(text, { keyIds: new Set(waiting.keys()), now: now() });
    const rootId = caId(readIssuer(root).publicKeySpki);
    const isKnown = current().roots.some(({ id }) => id === rootId);
    // Devices know our root: while its key is here it vouches for the new one.
    const old = current().root;
    const oldKey = isKnown ? undefined : await findRootKey(old.id);
    const cross = oldKey === undefined ? [] : [await crossSign(root, old, oldKey.signer)];
    const below = newIssuer('issuing', issuing, rootId, [...intermediates, ...cross]);
    const name = waiting.get(below.id) as CaName;
    const above = newIssuer('root', root, undefined, cross);
    // What a crash left of the same import is what we would write again.
    if (!(await directory.names('pem')).includes(name)) await directory.writeCertificate(name, issuing, below.chain);
    await record(isKnown ? [below] : [above, below], actor);
    await directory.removeText(name, 'csr');
    return below.id;
  };

  /** Devices hold the old root alone unless they came by since the new one is in the bundle. */
  const refuseToStrand = async (id: string, strandAtMost: number): Promise<void> => {
    const ca = current().issuing.find((each) => each.id === id);
    const root = current().roots.find((each) => each.id === ca?.record.rootId);
    if (ca === undefined || root === undefined || root.id === current().root.id) return;
    const knownRoots = current().roots.filter((each) => each.id !== root.id);
    const isVouchedFor = certificatesInPem(ca.record.chain).some((der) => {
      const cross = new X509Certificate(der);
      return knownRoots.some(({ publicKey }) => cross.verify(publicKey));
    });
    const count = isVouchedFor ? 0 : await registry.countNotSeenSince(root.record.preparedAt);
    if (count <= strandAtMost) return;
    throw new Problem('ca_would_strand', {
      detail: `${count} devices and services got no certificate since root ${root.id} is in the trust bundle, and may not know it`,
      hint: `have them renew first (rollcall renewals pull --all); --strand ${count} gives them up`,
    });
  };

  return {
    prepare: (role, actor) =>
      inTurn(async () => {
        const found = prepared(role);
        if (found !== undefined) return found.id;
        return role === 'root' ? prepareRoot(actor) : prepareIssuing(actor);
      }),
    activate: (id, strandAtMost, actor) =>
      inTurn(async () => {
        await refuseToStrand(id, strandAtMost);
        await registry.activateIssuer(id, actor);
        log.info({ ca: id }, 'CA activated');
        await options.changed();
      }),
    taint: (id, actor) =>
      inTurn(async () => {
        await registry.taintIssuer(id, actor);
        log.info({ ca: id }, 'CA tainted');
        await options.changed();
      }),
    retire: (id, strandAtMost, actor) =>
      inTurn(async () => {
        await registry.retireIssuer(id, strandAtMost, actor);
        log.info({ ca: id }, 'CA retired');
        await options.changed();
      }),
    request: () =>
      inTurn(async () => {
        const { name, signer } = await nameFor('issuing', true);
        const earlier = await directory.readText(name, 'csr');
        if (earlier !== undefined) return earlier;
        const text = await writeIssuingCaCsr(signer, trustDomain);
        await directory.writeText(name, 'csr', text);
        return text;
      }),
    importChain: (text, actor) => inTurn(() => importChain(text, actor)),
    exportRoot: (passphrase, actor) =>
      inTurn(async () => {
        const { id } = current().root;
        const { signer } = await needRootKey(id);
        if (signer.exportKey === undefined) {
          throw new Problem('ca_state_conflict', { detail: 'the root key lies in a token, which never gives it away' });
        }
        const sealed = await encryptKey(signer.exportKey(), passphrase);
        await registry.recordAction({
          actor,
          action: 'ca.root.exported',
          subject: `ca/${id}`,
          outcome: 'done',
          details: {},
        });
        log.warn({ ca: id }, 'root key exported');
        return { id, pem: sealed };
      }),
    forgetRoot: (id, actor) =>
      inTurn(async () => {
        const { name } = await needRootKey(id);
        await registry.recordAction({
          actor,
          action: 'ca.root.removed',
          subject: `ca/${id}`,
          outcome: 'done',
          details: {},
        });
        await directory.removeKey(name);
        log.warn({ ca: id }, 'root key removed from this machine');
        await options.changed();
      }),
    rootKeys: async () => {
      const ids: string[] = [];
      for (const name of await rootNames()) {
        const signer = await home.open(name).catch(() => undefined);
        if (signer !== undefined) ids.push(caId(signer.publicKeySpki));
      }
      return ids;
    },
    rootSigner: async (id) => (await findRootKey(id))?.signer,
  };
}

export function newIssuer(role: CaRole, der: Buffer, rootId: string | undefined, chain: readonly Buffer[]): NewIssuer {
  const { publicKeySpki, notBefore, notAfter } = readIssuer(der);
  return {
    id: caId(publicKeySpki),
    role,
    rootId,
    der,
    chain: chain.map((each) => pem(each)).join(''),
    notBefore,
    notAfter,
  };
}
