import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { collectLog, openTestAuthority, testDirectory } from '../../test/fixtures/enroll/test-enrollment.ts';
import { watchCredentialFiles } from './credential-files.ts';

interface Watched {
  readonly folder: string;
  readonly pairs: string[];
  readonly lines: () => readonly Record<string, unknown>[];
  error(): string | undefined;
  check(): Promise<void>;
  /** Resolves when something was pairs or refused since it was asked. */
  next(): Promise<void>;
}

/** A pair as an ACME client leaves it. */
async function pair(): Promise<{ readonly cert: string; readonly key: string }> {
  const { authority } = await openTestAuthority();
  const { cert, key } = authority.serverCertificates.current('enroll');
  return { cert, key };
}

async function watched(folder: string, first: { readonly cert: string; readonly key: string }): Promise<Watched> {
  mkdirSync(folder, { recursive: true });
  write(folder, first);
  const logged = collectLog();
  const pairs: string[] = [];
  const waiting = new Set<() => void>();
  const wake = () => {
    for (const resolve of waiting) resolve();
    waiting.clear();
  };
  logged.log.error = new Proxy(logged.log.error, {
    apply: (target, self, args) => {
      Reflect.apply(target, self, args);
      wake();
    },
  });
  const watcher = await watchCredentialFiles(
    { cert: join(folder, 'tls.crt'), key: join(folder, 'tls.key') },
    {
      name: 'broker',
      onPair: ({ cert }) => {
        pairs.push(cert);
        wake();
      },
      now: Date.now,
      log: logged.log,
    },
  );
  onTestFinished(() => watcher.close());
  return {
    folder,
    pairs,
    lines: logged.lines,
    error: watcher.error,
    check: () => watcher.check(),
    next: () => new Promise((resolve) => waiting.add(resolve)),
  };
}

function write(folder: string, { cert, key }: { readonly cert: string; readonly key: string }): void {
  writeFileSync(join(folder, 'tls.crt'), cert);
  writeFileSync(join(folder, 'tls.key'), key, { mode: 0o600 });
}

it('a new pair is used as soon as it is written', async () => {
  const [one, two] = [await pair(), await pair()];
  const files = await watched(testDirectory(), one);
  const next = files.next();
  write(files.folder, two);
  await next;
  expect(files.pairs).toEqual([one.cert, two.cert]);
  expect(files.error()).toBeUndefined();
});

it('a new pair is in use when a check that was asked for is finished', async () => {
  const [one, two] = [await pair(), await pair()];
  const files = await watched(testDirectory(), one);
  write(files.folder, two);
  await files.check(); // a watcher waits until the files have settled
  expect(files.pairs).toEqual([one.cert, two.cert]);
});

it('a new pair behind a replaced link to its folder is used, as Kubernetes mounts secrets', async () => {
  const [one, two] = [await pair(), await pair()];
  const base = testDirectory();
  for (const [name, each] of [
    ['v1', one],
    ['v2', two],
  ] as const) {
    mkdirSync(join(base, name));
    write(join(base, name), each);
  }
  symlinkSync('v1', join(base, '..data'));
  for (const name of ['tls.crt', 'tls.key']) symlinkSync(`..data/${name}`, join(base, name));
  const pairs: string[] = [];
  const turn = Promise.withResolvers<void>();
  const watcher = await watchCredentialFiles(
    { cert: join(base, 'tls.crt'), key: join(base, 'tls.key') },
    {
      name: 'broker',
      onPair: ({ cert }) => {
        pairs.push(cert);
        if (pairs.length === 2) turn.resolve();
      },
      now: Date.now,
      log: collectLog().log,
    },
  );
  onTestFinished(() => watcher.close());
  symlinkSync('v2', join(base, '..new'));
  renameSync(join(base, '..new'), join(base, '..data'));
  await turn.promise;
  expect(pairs).toEqual([one.cert, two.cert]);
});

it.each<[string, (folder: string, good: { cert: string; key: string }) => void, RegExp]>([
  ['the key of another', (folder) => writeFileSync(join(folder, 'tls.key'), strangerKey()), /found another/],
  [
    'half a certificate',
    (folder, { cert }) => writeFileSync(join(folder, 'tls.crt'), cert.slice(0, 200)),
    /certificate in PEM/,
  ],
  ['no key', (folder) => rmSync(join(folder, 'tls.key')), /ENOENT/],
  ['an empty key', (folder) => writeFileSync(join(folder, 'tls.key'), ''), /private key in PEM/],
  [
    "a CA's certificate",
    (folder, { cert }) => writeFileSync(join(folder, 'tls.crt'), cert.slice(cert.indexOf('-----END') + 26)),
    /found/,
  ],
])('a pair with %s is refused, said in the log, and the old one stays', async (_what, spoil, reason) => {
  const good = await pair();
  const files = await watched(testDirectory(), good);
  const next = files.next();
  spoil(files.folder, good);
  await next;
  expect(files.pairs).toEqual([good.cert]);
  expect(files.error()).toMatch(reason);
  const said = files.lines().find(({ msg }) => msg === 'new server certificate refused; the old one stays');
  expect(said).toMatchObject({ server: 'broker', reason: expect.stringMatching(reason) });
  expect(JSON.stringify(files.lines())).not.toContain('PRIVATE KEY-----');

  const accepted = files.next();
  write(files.folder, await pair());
  await accepted;
  expect(files.error()).toBeUndefined();
});

it('the authority does not start with a pair that cannot be used, and uses one that can for that server alone', async () => {
  const good = await pair();
  const folder = testDirectory();
  write(folder, good);
  const broker = { cert: join(folder, 'tls.crt'), key: join(folder, 'tls.key') };
  const { authority, recorded } = await openTestAuthority({ serverFiles: { broker } });
  expect(authority.serverCertificates.current('broker').cert).toBe(good.cert);
  expect(authority.serverCertificates.current('broker').ca).toBe(authority.trust.pem);
  expect(recorded.map(({ name }) => name)).toEqual(['enroll', 'console']);
  writeFileSync(broker.key, strangerKey());
  await expect(openTestAuthority({ serverFiles: { broker } })).rejects.toMatchObject({ code: 'config_invalid' });
});

function strangerKey(): string {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' })
    .privateKey.export({ type: 'pkcs8', format: 'pem' })
    .toString();
}
