import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Problem } from '@rollcall/protocol';
import { Command, InvalidArgumentError } from 'commander';
import type { ConsoleClient } from '../../console/client.ts';
import { expectPlausibleClock } from '../../server/config/index.ts';
import { duration, integerBetween, run, runWithServer, withJsonOption, withServerOptions } from '../command-line.ts';
import { createPrivateFile } from '../new-file.ts';
import { printJson, printResult, table } from '../terminal.ts';

interface WithinOption {
  readonly within?: number;
}
interface StrandOption {
  readonly strand?: number;
}

type Cas = Awaited<ReturnType<ConsoleClient['listCas']>>;

const show = runWithServer(async (server, { form }) => {
  const cas = await server.listCas();
  if (form === 'json') return printJson(cas);
  printResult(
    table(
      ['CA', 'ROLE', 'STATE', 'KEY', 'ENDS', 'ISSUED', 'STRANDED'],
      cas.map((ca) => [
        ca.id,
        ca.role,
        ca.state,
        ca.hasKey ? 'here' : 'not here',
        ca.notAfter,
        ca.role === 'root' ? '' : String(ca.issued),
        ca.role === 'root' && ca.state === 'active' ? '' : String(ca.stranded),
      ]),
    ),
  );
});

const prepare = runWithServer<{ readonly root?: boolean }>(async (server, { options, form }) => {
  const { id } = await server.prepareCa({ role: options.root === true ? 'root' : 'issuing' });
  if (form === 'json') printJson({ id });
  else
    printResult(
      `CA ${id} is prepared: devices are told to trust it; "rollcall ca rotate activate" makes it the issuing CA`,
    );
});

const activate = runWithServer<StrandOption>(async (server, { args, options, form }) => {
  const id = args[0] ?? only(await server.listCas(), ['prepared'], 'issuing');
  await server.activateCa({ id, strand: options.strand ?? 0 });
  if (form === 'json') printJson({ id });
  else printResult(`CA ${id} signs certificates now; those of the CA before it stay valid`);
});

const taint = runWithServer<WithinOption>(async (server, { args, options, form }) => {
  const id = args[0] ?? only(await server.listCas(), ['outgoing'], 'issuing');
  const answer = await server.taintCa({ id, withinSeconds: seconds(options.within) });
  if (form === 'json') printJson({ id, ...answer });
  else printResult(`CA ${id} is tainted; ${askedToRenew(answer)} until ${answer.until}`);
});

const retire = runWithServer<StrandOption>(async (server, { args, options, form }) => {
  const id = args[0] ?? only(await server.listCas(), ['tainted', 'outgoing'], 'issuing');
  await server.retireCa({ id, strand: options.strand ?? 0 });
  if (form === 'json') printJson({ id });
  else printResult(`CA ${id} is retired; its certificates are refused`);
});

const csr = runWithServer(async (server, { form }) => {
  const answer = await server.requestCa();
  if (form === 'json') printJson(answer);
  else printResult(answer.csrPem);
});

const importCa = runWithServer(async (server, { args, form }) => {
  const { id } = await server.importCa({ pem: readText(args[0] as string) });
  if (form === 'json') printJson({ id });
  else printResult(`CA ${id} is prepared; "rollcall ca rotate activate" makes it the issuing CA`);
});

interface ExportOptions {
  readonly out: string;
  readonly passphraseFile: string;
  readonly keep?: boolean;
}

const exportRoot = runWithServer<ExportOptions>(async (server, { options, form }) => {
  const passphrase = readText(options.passphraseFile).replace(/[\r\n]+$/, '');
  const { id, pem } = await server.exportRoot({ passphrase });
  const bundle = await server.trustBundle();
  const root = findCertificate(bundle, pem, passphrase);
  createPrivateFile(options.out).write(pem + root);
  // The exported key is opened again before the key on the server is deleted.
  findCertificate(root, readText(options.out), passphrase);
  if (options.keep !== true) await server.removeRootKey({ id });
  if (form === 'json') printJson({ id, file: options.out, removed: options.keep !== true });
  else {
    printResult(
      options.keep === true
        ? `the key of root ${id} is in ${options.out}, and still on the server`
        : `the key of root ${id} is in ${options.out} only; store the file and its passphrase in different places`,
    );
  }
});

interface SignOptions {
  readonly root: string;
  readonly passphraseFile: string;
  readonly life: number;
  readonly out?: string;
}

const sign = run<SignOptions>(async ({ args, options }) => {
  // Loaded here: the other commands need no CA.
  const { signIssuingCaCsr } = await import('../../enroll/index.ts');
  const now = Date.now();
  expectPlausibleClock(now);
  const chain = await signIssuingCaCsr({
    exported: readText(options.root),
    passphrase: Buffer.from(readText(options.passphraseFile).replace(/[\r\n]+$/, '')),
    csrPem: readText(args[0] as string),
    lifeSeconds: seconds(options.life),
    now,
  });
  if (options.out === undefined) printResult(chain);
  else createPrivateFile(options.out).write(chain);
});

function only(cas: Cas, states: readonly Cas[number]['state'][], role: Cas[number]['role']): string {
  const found = cas.filter((ca) => ca.role === role && states.includes(ca.state));
  if (found.length === 1) return (found[0] as Cas[number]).id;
  throw new Problem('usage', {
    reason: `expected one ${role} CA that is ${states.join(' or ')}, found ${found.length}`,
    hint: 'name the CA; "rollcall ca show" lists their ids',
  });
}

/** The certificate in a bundle that belongs to an encrypted key. Throws when the passphrase does not decrypt the key. */
function findCertificate(bundle: string, encrypted: string, passphrase: string): string {
  let spki: Buffer;
  try {
    const key = createPublicKey(createPrivateKey({ key: encrypted, passphrase }));
    spki = key.export({ type: 'spki', format: 'der' });
  } catch {
    throw new Problem('internal', {
      reason: 'the exported key could not be opened again; the key on the server was not deleted',
    });
  }
  const blocks = bundle.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?/g) ?? [];
  const found = blocks.find((block) =>
    new X509Certificate(block).publicKey.export({ type: 'spki', format: 'der' }).equals(spki),
  );
  if (found !== undefined) return found;
  throw new Problem('internal', { reason: 'expected the certificate of the exported key in the trust bundle' });
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new Problem('usage', { reason: `cannot read ${file}: ${(error as NodeJS.ErrnoException).code}` });
  }
}

function seconds(ms: number | undefined): number {
  return Math.round((ms ?? 3_600_000) / 1000);
}

/** `3 devices are asked to renew`, with the certificates of services if there are any. */
export function askedToRenew({ pulled, services }: { readonly pulled: number; readonly services: number }): string {
  const also = services === 0 ? '' : ` and ${services} certificates of services`;
  return `${pulled} devices${also} are asked to renew`;
}

export function parseCaId(text: string): string {
  if (/^[0-9a-f]{40}$/.test(text)) return text;
  throw new InvalidArgumentError('expected the id of a CA: 40 digits of hexadecimal');
}

export function caCommand(): Command {
  const ca = new Command('ca').description('certificate authorities: show, rotate, import, export the root key, sign');
  withServerOptions(
    ca.command('show').description('list CAs, their states and how many devices and services depend on each'),
  ).action(show);

  const rotate = ca.command('rotate').description('replace a CA in stages, without ending sessions');
  const strand = [
    '--strand <n>',
    'proceed although so many devices and services lose access',
    integerBetween(0, 9_999_999),
  ] as const;
  withServerOptions(rotate.command('prepare').description('make a CA that devices trust and that signs nothing yet'))
    .option('--root', 'a root CA, cross-signed by the current root')
    .action(prepare);
  withServerOptions(
    rotate.command('activate').argument('[id]', 'id of the CA', parseCaId).description('sign with this CA from now on'),
  )
    .option(...strand)
    .action(activate);
  withServerOptions(
    rotate
      .command('taint')
      .argument('[id]', 'id of the CA', parseCaId)
      .description('ask devices with its certificates to renew'),
  )
    .option('--within <duration>', 'time in which all of them renew, such as 1h', duration)
    .action(taint);
  withServerOptions(
    rotate
      .command('retire')
      .argument('[id]', 'id of the CA', parseCaId)
      .description('refuse its certificates from now on'),
  )
    .option(...strand)
    .action(retire);

  withServerOptions(
    ca.command('csr').description('print a PKCS#10 request for an issuing CA, to be signed by an external root'),
  ).action(csr);
  withServerOptions(
    ca
      .command('import')
      .argument('<file>', 'PEM: the issuing CA and its chain to the root')
      .description('import the issuing CA that an external root signed'),
  ).action(importCa);
  withServerOptions(
    ca
      .command('export-root')
      .description('write the root key to a file, encrypted with a passphrase, and delete it from the server'),
  )
    .requiredOption('--out <file>', 'file to write; it must not exist')
    .requiredOption('--passphrase-file <file>', 'file with the passphrase, at least 8 characters')
    .option('--keep', 'do not delete the key from the server')
    .action(exportRoot);
  withJsonOption(
    ca
      .command('sign')
      .argument('<csr>', 'PKCS#10 request')
      .description('sign a request with an exported root key; needs no server'),
  )
    .requiredOption('--root <file>', 'file that "ca export-root" wrote')
    .requiredOption('--passphrase-file <file>', 'file with the passphrase')
    .option('--life <duration>', 'lifetime of the issuing CA', duration, 3 * 365 * 24 * 3_600_000)
    .option('--out <file>', 'file to write (default: standard output)')
    .action(sign);
  return ca;
}
