/**
 * The CAs in use now: opens or creates the first root and issuing CA, and reads a new snapshot after each step of a
 * rotation. The registry records every CA; keys come from the key store.
 */

import { Problem } from '@rollcall/protocol';
import type { IssuerRecord, IssuerStore } from '../../registry/index.ts';
import { readIssuer } from '../x509/certificate-check.ts';
import { type CaOptions, openCaCertificates } from './ca-certificates.ts';
import type { CaDirectory } from './ca-directory.ts';
import { type CaSet, caId, readCaSet } from './ca-set.ts';
import { newIssuer } from './issuer-record.ts';
import type { KeyStore } from './key-store.ts';
import type { Signer } from './signer.ts';

export interface CurrentCas {
  /** A snapshot; another object after each change. */
  get(): CaSet;
  reload(): Promise<void>;
  /** Whether the key of an issuing CA is on this machine by now that was not when the snapshot was made. */
  findKeys(): Promise<boolean>;
}

export interface CurrentCasOptions extends CaOptions {
  readonly directory: CaDirectory;
  readonly keys: KeyStore;
  readonly registry: IssuerStore;
  /** Of a node without keys: its CAs are those that the registry knows. */
  readonly remote?: unknown;
  readonly sharesRegistry?: boolean | undefined;
  /** Keys of CAs go from node to node. */
  readonly sharing?: unknown;
}

const ACTOR = 'server/authority';

/** Throws Problem `authority_unusable` when files, keys and registry do not belong together. */
export async function openCurrentCas(options: CurrentCasOptions): Promise<CurrentCas> {
  const { directory, keys, registry, now } = options;
  const signers = new IssuingSigners(directory, keys);
  const read = async (mayLackKey: boolean | 'besideAnother'): Promise<CaSet> => {
    await signers.openNew();
    return readCaSet(await registry.listIssuers(), signers.byId, { directory: directory.path, now: now(), mayLackKey });
  };
  const isKeyless = options.remote !== undefined;
  if (options.remote === undefined) await recordFirstCas(options);
  // One that was off while another node activated a CA asks for its key once it runs.
  let current = await read(isKeyless || (options.sharing !== undefined && 'besideAnother'));
  return {
    get: () => current,
    findKeys: async () => {
      await signers.openNew();
      return current.issuing.some(({ id, signer }) => signer === undefined && signers.byId.has(id));
    },
    reload: async () => {
      // A CA that another node made and activated.
      current = await read(isKeyless || options.sharesRegistry === true);
    },
  };
}

/** The first root and issuing CA are created from their files. The registry alone knows about later ones. */
async function recordFirstCas(options: CurrentCasOptions): Promise<void> {
  const { directory, keys, registry } = options;
  const known = await registry.listIssuers();
  if (known.length > 2) return expectKnownRoot(directory, known);
  if (known.length > 0 && (await directory.readCertificate('root')) === undefined) {
    throw new Problem('authority_unusable', {
      reason: `expected root.pem in ${directory.path}, found none, and the registry knows devices that trust it`,
      hint: 'use the ca/ directory of another node of this fleet, or of the backup that the registry is from',
    });
  }
  const first = await openCaCertificates(directory, keys, options);
  const root = newIssuer('root', first.root.der, undefined, []);
  const recorded = known.find(({ role }) => role === 'root');
  if (recorded !== undefined && recorded.id !== root.id) {
    throw new Problem('authority_unusable', {
      reason: `expected the root ${recorded.id}, which the registry knows, in ${directory.path}, found ${root.id}`,
      hint: 'use the ca/ directory of this fleet: that of its other nodes, or of the backup that the registry is from',
    });
  }
  const issuing = newIssuer('issuing', first.issuing.der, root.id, []);
  if (known.length === 0) {
    const recordedFirst = await registry.addFirstIssuers([root, issuing], ACTOR);
    if (recordedFirst === root.id) return;
    throw new Problem('authority_unusable', {
      reason: `another node has created the root ${recordedFirst} of this fleet meanwhile, and ${directory.path} has ${root.id}`,
      hint: 'move the ca/ directory of this node away, and use that of the other one',
    });
  }
  await registry.addIssuers([root, issuing], ACTOR);
  // An operator removed the issuing CA while the server was down, and this start created another.
  const isReplacement = known.length === 2 && known.every(({ id }) => id !== issuing.id);
  if (isReplacement) await registry.activateIssuer(issuing.id, ACTOR);
}

/**
 * After a rotation. A later root may be one that an interrupted preparation has left and nobody has recorded, so one of them that is known is
 * enough; the first root is always recorded.
 */
async function expectKnownRoot(directory: CaDirectory, known: readonly IssuerRecord[]): Promise<void> {
  const recorded = known.filter(({ role }) => role === 'root').map(({ id }) => id);
  const found: string[] = [];
  for (const name of await directory.names('pem')) {
    const der = name.startsWith('root') ? await directory.readCertificate(name) : undefined;
    if (der === undefined) continue;
    const id = caId(readIssuer(der).publicKeySpki);
    found.push(id);
    if (recorded.includes(id)) return;
    if (name === 'root') break;
  }
  const isOne = recorded.length === 1;
  throw new Problem('authority_unusable', {
    reason:
      `expected ${isOne ? 'the root' : 'one of the roots'} ${recorded.join(', ')}, which the registry knows, in ${directory.path}, ` +
      `found ${found.join(', ') || 'none'}`,
    hint: 'use the ca/ directory of this fleet: that of its other nodes, or of the backup that the registry is from',
  });
}

/** The signers of issuing CAs whose keys are on this machine. A root's key is opened only to sign. */
class IssuingSigners {
  readonly byId = new Map<string, Signer>();
  readonly #directory: CaDirectory;
  readonly #keys: KeyStore;
  readonly #opened = new Set<string>();

  constructor(directory: CaDirectory, keys: KeyStore) {
    this.#directory = directory;
    this.#keys = keys;
  }

  async openNew(): Promise<void> {
    const names = [...(await this.#directory.names('key')), ...(await this.#directory.names('uri'))];
    for (const name of names.filter((each) => !this.#opened.has(each))) {
      this.#opened.add(name);
      // A root's key is opened once too, so that a wrong mode or passphrase is reported at the start.
      const signer = await this.#keys.open(name);
      if (signer !== undefined && name.startsWith('issuing')) this.byId.set(caId(signer.publicKeySpki), signer);
    }
  }
}
