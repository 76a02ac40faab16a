import { createPrivateKey, generateKeyPairSync, type KeyObject, sign, X509Certificate } from 'node:crypto';
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { IssuerRecord, JoinedNode, Registry } from '../../registry/index.ts';
import { openRegistry } from '../../registry/open.ts';
import { freshKey } from '../../test/fixtures/enroll/test-csr.ts';
import { openTestAuthority, testDirectory } from '../../test/fixtures/enroll/test-enrollment.ts';
import { TEST_LIFETIMES } from '../../test/fixtures/enroll/test-lifetimes.ts';
import { type Authority, openAuthority } from '../ca/authority.ts';
import { certificatesInPem } from '../ca/ca-set.ts';
import { newIssuer } from '../ca/issuer-record.ts';
import type { KeySettings } from '../ca/key-store.ts';
import { type CaKeyAnswer, type CaKeyRequest, requestText } from './ca-key-request.ts';
import type { AskedCaKey, CaKeySharing } from './ca-key-sharing.ts';
import { writeNodeCsr } from './node-csr.ts';

const ACTOR = 'operator/test';
const log = pino({ level: 'silent' });

interface SharingNode {
  readonly authority: Authority;
  readonly sharing: CaKeySharing;
  readonly ca: string;
}

interface SharingFleet {
  readonly registry: Registry;
  readonly clock: { now: number };
  readonly a: SharingNode;
  readonly b: SharingNode;
  /** Nodes with the role enroll. */
  readonly enrolling: Set<string>;
  /** Good certificates of nodes that joined, by serial. */
  readonly joined: Map<string, JoinedNode>;
  /** The CA that `a` has made, and its key `b` lacks. */
  readonly id: string;
  /** The key of the first CA, which both have. */
  readonly shared: KeyObject;
  /** `b` ends, and starts again. */
  restartB(): Promise<SharingNode>;
  /** `b` joins: it proves its name from now on, unless it is told otherwise. */
  join(changes?: { readonly name?: string; readonly by?: Authority; readonly key?: KeyObject }): Promise<void>;
}

/** Two nodes with one registry and the key of its first CA. Then `a` prepares another one. */
async function sharingFleet(keys: KeySettings = { store: 'file' }): Promise<SharingFleet> {
  const directory = testDirectory();
  const clock = { now: Date.now() };
  const registry = await openRegistry({ file: join(directory, 'registry.db'), now: () => clock.now, log });
  onTestFinished(() => registry.close());
  const enrolling = new Set(['a', 'b']);
  const joined = new Map<string, JoinedNode>();
  let proof: { readonly certificate: string; readonly key: KeyObject } | undefined;
  const sharing = {
    registry: {
      findNodeByCertificate: async (serial: string) => joined.get(serial),
      listNodeCertificates: async () =>
        [...joined].map(([serial, { name }]) => ({ name, serial, notBefore: 0, notAfter: clock.now + 1 })),
    },
    isEnrolling: async (node: string) => enrolling.has(node),
  };
  const open = async (node: string, settings: KeySettings): Promise<SharingNode> => {
    const authority = await openAuthority({
      directory: join(directory, node),
      trustDomain: 'fleet.example',
      hosts: ['localhost'],
      lifetimes: TEST_LIFETIMES,
      registry,
      keys: settings,
      sharesRegistry: true,
      sharing: {
        ...{ ...sharing, node },
        prove: (text) => {
          if (node !== 'b' || proof === undefined) return undefined;
          const { certificate, key } = proof;
          return { certificate, signature: signatureOf(key, text) };
        },
      },
      now: () => clock.now,
      log,
    });
    onTestFinished(() => authority.close());
    return { authority, sharing: authority.keySharing as CaKeySharing, ca: join(directory, node) };
  };
  const a = await open('a', { store: 'file' });
  cpSync(a.ca, join(directory, 'b'), { recursive: true });
  const b = await open('b', keys);
  const id = await a.authority.rotation.prepare('issuing', ACTOR);
  await b.authority.checkCas();
  const shared = createPrivateKey(readFileSync(join(a.ca, 'issuing.key')));
  return {
    ...{ registry, clock, a, b, enrolling, joined, id, shared },
    restartB: async () => {
      await b.authority.close();
      return open('b', keys);
    },
    join: async ({ name = 'b', by = a.authority, key } = {}) => {
      const own = freshKey().privateKey;
      const { der, serial } = await by.nodes.issue(name, await writeNodeCsr(own, name));
      joined.set(serial, { name, roles: ['mqtt', 'enroll'], hosts: ['localhost'], databaseRole: 'rollcall_b' });
      proof = { certificate: new X509Certificate(der).toString(), key: key ?? own };
    },
  };
}

function signatureOf(key: KeyObject, text: string): string {
  return sign('sha256', Buffer.from(text), key).toString('base64');
}

function signedBy(key: KeyObject, request: CaKeyRequest): CaKeyRequest {
  return { ...request, signature: signatureOf(key, requestText(request)) };
}

const sent = (registry: Registry) =>
  registry.listAudit({ limit: 100 }).then((all) => all.filter(({ action }) => action === 'ca.key.sent'));

async function issuerOf({ authority }: SharingNode): Promise<string | undefined> {
  const spki = freshKey().publicKey.export({ type: 'spki', format: 'der' });
  return (await authority.issuer.issue({ kind: 'device', id: 'd' as never }, spki)).issuerId;
}

/** As it arrives: through JSON. */
const arrived = <Value>(value: Value): Value => JSON.parse(JSON.stringify(value)) as Value;

describe('the key of a CA', () => {
  it('comes from a node that has it, is stored as the node stores its keys, and is in the audit', async () => {
    const passphraseFile = join(testDirectory(), 'passphrase');
    writeFileSync(passphraseFile, 'correct horse battery staple', { mode: 0o600 });
    const { registry, clock, a, b, id } = await sharingFleet({ store: 'encrypted', passphraseFile });
    expect([a.sharing.missing(), b.sharing.missing()]).toEqual([[], [id]]);
    const asked = await b.sharing.ask(id, 'a');
    const answer = arrived(await a.sharing.answer(arrived(asked.request)));
    const name = readdirSync(a.ca).find((file) => /^issuing-.*\.key$/.test(file)) as string;
    const key = createPrivateKey(readFileSync(join(a.ca, name)));
    const secret = key.export({ format: 'jwk' }).d as string;
    expect(JSON.stringify(answer)).not.toContain(Buffer.from(secret, 'base64url').toString('base64').slice(0, 20));
    await asked.accept(answer);

    expect(b.sharing.missing()).toEqual([]);
    const files = readdirSync(b.ca).filter((file) => file.startsWith('issuing-'));
    expect(files.map((file) => file.replace(/.*\./, '')).toSorted()).toEqual(['key', 'pem']);
    expect(readFileSync(join(b.ca, files.find((file) => file.endsWith('.key')) as string), 'utf8')).toMatch(
      /BEGIN ENCRYPTED PRIVATE KEY/,
    );
    expect(await sent(registry)).toEqual([
      expect.objectContaining({
        ...{ actor: 'server/a', subject: `ca/${id}`, outcome: 'done' },
        details: expect.objectContaining({ from: 'a', to: 'b' }),
      }),
    ]);
    clock.now += 1;
    await registry.activateIssuer(id, ACTOR);
    await b.authority.checkCas();
    expect(await issuerOf(b)).toBe(id);
    // A later preparation here makes a key of its own.
    expect(await b.authority.rotation.prepare('issuing', ACTOR)).not.toBe(id);
  });

  it('comes to a node that was off when the CA was activated, and whose servers have certificates of the CA before until then', async () => {
    const { registry, clock, a, id, restartB } = await sharingFleet();
    const [first] = a.authority.cas.issuing;
    clock.now += 1;
    await registry.activateIssuer(id, ACTOR);
    await a.authority.checkCas();
    const b = await restartB();
    const chain = () =>
      certificatesInPem(b.authority.serverCertificates.current('broker').cert).map((der) => new X509Certificate(der));
    const isBy = (ca: { readonly der: Buffer } | undefined) => {
      const [leaf, issuer] = chain();
      return issuer?.raw.equals(ca?.der as Buffer) === true && leaf?.verify(issuer.publicKey) === true;
    };
    expect(isBy(first)).toBe(true);
    await expect(issuerOf(b)).rejects.toMatchObject({ code: 'unavailable' });
    const asked = await b.sharing.ask(id, 'a');
    await asked.accept(await a.sharing.answer(asked.request));
    expect(isBy(a.authority.cas.active)).toBe(true);
    expect(await issuerOf(b)).toBe(id);
  });

  it('is missing for good on a node that was off until the CA before was tainted: it says how it goes on', async () => {
    const { registry, clock, a, id, restartB } = await sharingFleet();
    clock.now += 1;
    await registry.activateIssuer(id, ACTOR);
    await registry.taintIssuer((a.authority.cas.active as { readonly id: string }).id, ACTOR);
    await expect(restartB()).rejects.toMatchObject({
      ...{ code: 'authority_unusable', hint: expect.stringContaining('join the fleet again') },
    });
  });

  it('is stored beside the certificate that an interrupted transfer has left', async () => {
    const { a, b, id } = await sharingFleet();
    const name = readdirSync(a.ca).find((file) => /^issuing-.*\.pem$/.test(file)) as string;
    cpSync(join(a.ca, name), join(b.ca, 'issuing-00000000.pem'));
    const asked = await b.sharing.ask(id, 'a');
    await asked.accept(await a.sharing.answer(asked.request));
    expect(readdirSync(b.ca).filter((file) => file.startsWith('issuing-'))).toEqual([
      'issuing-00000000.key',
      'issuing-00000000.pem',
    ]);
  });

  it('goes to a node that joined by a token for its certificate, and not without it', async () => {
    const { a, b, id, join: joinFleet } = await sharingFleet();
    const before = await b.sharing.ask(id, 'a');
    await joinFleet();
    expect(await a.sharing.answer(before.request)).toEqual({ refused: 'expected the certificate of b, found none' });
    const asked = await b.sharing.ask(id, 'a');
    await asked.accept(await a.sharing.answer(arrived(asked.request)));
    expect(b.sharing.missing()).toEqual([]);
  });

  it('is not asked for by a node whose keys are in a token of PKCS#11', async () => {
    const { b } = await sharingFleet({ store: 'pkcs11' });
    expect(b.sharing.missing()).toEqual([]);
  });
});

describe('a request for the key of a CA', () => {
  type Attempt = (fleet: SharingFleet, request: CaKeyRequest) => CaKeyRequest | Promise<CaKeyRequest>;
  const attempts: readonly (readonly [string, RegExp, Attempt])[] = [
    ['to another node', /expected a request to a/, ({ shared }, request) => signedBy(shared, { ...request, to: 'c' })],
    ['for another CA than the signed one', /signature is not/, (_, request) => ({ ...request, ca: '0'.repeat(40) })],
    [
      'with another key to encrypt to than the signed one',
      /signature is not/,
      (_, request) => {
        const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
        return { ...request, transferKey: publicKey.export({ type: 'spki', format: 'der' }).toString('base64') };
      },
    ],
    [
      'with a key to encrypt to that is none',
      /request_invalid|transfer key/,
      ({ shared }, request) => signedBy(shared, { ...request, transferKey: 'AAAA' }),
    ],
    ['that another key signed', /signature is not/, (_, request) => signedBy(freshKey().privateKey, request)],
    [
      'that a CA signed which the database has and no node',
      /key of CA [0-9a-f]{40} is not here/,
      async ({ registry, clock, a, id }, request) => {
        clock.now += 1;
        await registry.activateIssuer(id, ACTOR); // One CA at a time is prepared.
        const { authority, options } = await openTestAuthority();
        const { der } = authority.cas.active;
        await registry.addIssuers([newIssuer('issuing', der, a.authority.cas.root.id, [])], ACTOR);
        await a.authority.checkCas();
        expect(a.authority.cas.issuing.map((ca) => ca.id)).toContain(authority.cas.active.id);
        const key = createPrivateKey(readFileSync(join(options.directory, 'issuing.key')));
        return signedBy(key, { ...request, by: authority.cas.active.id });
      },
    ],
    [
      'of a node that was removed, or has not the role enroll',
      /there is no node b with the role enroll/,
      ({ enrolling }, request) => {
        enrolling.delete('b');
        return request;
      },
    ],
    [
      'of another time',
      /the request is of/,
      ({ clock }, request) => {
        clock.now += 600_000;
        return request;
      },
    ],
    [
      'that was answered before',
      /was answered before/,
      async ({ a }, request) => {
        expect(await a.sharing.answer(request)).toHaveProperty('encrypted');
        return request;
      },
    ],
    [
      'by the key of a tainted CA',
      /key of CA [0-9a-f]{40} is not here, or the CA is not in use/,
      async ({ registry, clock, a, id }, request) => {
        clock.now += 1;
        await registry.activateIssuer(id, ACTOR);
        await registry.taintIssuer(request.by, ACTOR);
        await a.authority.checkCas();
        return request;
      },
    ],
    ['of more than a request', /expected a text/, (_, request) => ({ ...request, node: 'b'.repeat(100) })],
    ['of nothing', /expected the id of a CA/, () => ({}) as CaKeyRequest],
  ];
  it.each(attempts)('%s is refused', async (_, reason, attempt) => {
    const fleet = await sharingFleet();
    const { request } = await fleet.b.sharing.ask(fleet.id, 'a');
    const refused = arrived(await attempt(fleet, request));
    expect(await fleet.a.sharing.answer(refused)).toEqual({ refused: expect.stringMatching(reason) });
  });

  it('that is refused is in the audit', async () => {
    const { registry, a, b, id } = await sharingFleet();
    const { request } = await b.sharing.ask(id, 'a');
    await a.sharing.answer({ ...request, transferKey: 'AAAA' });
    expect(await sent(registry)).toEqual([expect.objectContaining({ outcome: 'refused', subject: `ca/${id}` })]);
  });

  it.each<[string, RegExp, (fleet: SharingFleet) => Promise<void>]>([
    [
      'by a CA of another fleet',
      /of a CA in use whose key is here/,
      async ({ join: joinFleet }) => joinFleet({ by: (await openTestAuthority()).authority }),
    ],
    ['of another node', /expected the certificate of b/, ({ join: joinFleet }) => joinFleet({ name: 'c' })],
    [
      'without its key',
      /signature is not by the key of b/,
      ({ join: joinFleet }) => joinFleet({ key: freshKey().privateKey }),
    ],
    [
      'that is revoked',
      /not a good one of b/,
      async ({ join: joinFleet, joined }) => {
        await joinFleet();
        joined.clear();
      },
    ],
    [
      'of a node that joined without the role enroll',
      /not a good one of b with the role enroll/,
      async ({ join: joinFleet, joined }) => {
        await joinFleet();
        for (const [serial, node] of joined) joined.set(serial, { ...node, roles: ['mqtt'] });
      },
    ],
    [
      'that is over',
      /valid now/,
      async ({ join: joinFleet, clock }) => {
        await joinFleet();
        clock.now += 40 * 86_400_000;
      },
    ],
  ])('with a certificate %s is refused', async (_, reason, prepare) => {
    const fleet = await sharingFleet();
    await prepare(fleet);
    const { request } = await fleet.b.sharing.ask(fleet.id, 'a');
    expect(await fleet.a.sharing.answer(request)).toEqual({ refused: expect.stringMatching(reason) });
  });

  it('cannot be made by a node whose keys are all of tainted CAs', async () => {
    const { registry, clock, b, id } = await sharingFleet();
    const [first] = b.authority.cas.issuing;
    clock.now += 1;
    await registry.activateIssuer(id, ACTOR);
    await registry.taintIssuer((first as { readonly id: string }).id, ACTOR);
    await b.authority.checkCas();
    await expect(b.sharing.ask(id, 'a')).rejects.toMatchObject({ code: 'ca_key_refused' });
  });
});

describe('an answer to a request for the key of a CA', () => {
  type Change = (fleet: SharingFleet, answer: CaKeyAnswer) => unknown;
  it.each<[string, RegExp, Change]>([
    [
      'that is changed',
      /not signed/,
      (_, answer) => ({ ...answer, encrypted: { ...answer.encrypted, nonce: 'AAAA' } }),
    ],
    [
      'that another key signed',
      /not signed/,
      (_, answer) => ({ ...answer, signature: signatureOf(freshKey().privateKey, 'x') }),
    ],
    [
      'to another request',
      /not signed/,
      async ({ a, b, id }) => a.sharing.answer((await b.sharing.ask(id, 'a')).request),
    ],
    ['that is a refusal', /for a reason/, () => ({ refused: 'for a reason' })],
    ['that is none', /expected a JSON object/, () => 'key'],
  ])('%s is refused, and nothing is stored', async (_, reason, change) => {
    const fleet = await sharingFleet();
    const { a, b, id } = fleet;
    const asked = await b.sharing.ask(id, 'a');
    const answer = (await a.sharing.answer(asked.request)) as CaKeyAnswer;
    const before = readdirSync(b.ca);
    await expect(asked.accept(await change(fleet, answer))).rejects.toMatchObject({
      ...{ code: 'ca_key_refused', reason: expect.stringMatching(reason) },
    });
    expect(readdirSync(b.ca)).toEqual(before);
    expect(b.sharing.missing()).toEqual([id]);
  });

  it('with the key of another CA is refused, also from a node that may send keys', async () => {
    const { registry, a, b, id } = await sharingFleet();
    const asked = (await b.sharing.ask(id, 'a')) as AskedCaKey;
    const [record] = (await registry.listIssuers()).filter((each: IssuerRecord) => each.id === id);
    expect(record?.state).toBe('prepared');
    // `a` holds another key under this id, as one that wants `b` to sign with a key of its own would.
    const { signer } = a.authority.cas.issuing.find((ca) => ca.id === id) ?? {};
    Object.assign(signer as object, { exportKey: () => freshKey().privateKey });
    const answer = await a.sharing.answer(asked.request);
    await expect(asked.accept(answer)).rejects.toMatchObject({ reason: `the key is not that of CA ${id}` });
    expect(b.sharing.missing()).toEqual([id]);
  });
});
