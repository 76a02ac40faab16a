import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import { closeSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs';
import { Problem } from '@rollcall/protocol';
import { Command, InvalidArgumentError } from 'commander';
import type { ConsoleClient } from '../../console/client.ts';
import { expectPlausibleClock } from '../../server/config/index.ts';
import { duration, findsServer, integerBetween, run, runWithServer, speaksJson } from '../command-line.ts';
import { printJson, printResult, table } from '../terminal.ts';

interface Within {
  readonly within?: number;
}
interface Strand {
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
      `CA ${id} is prepared: devices are told to trust it; it signs nothing before "rollcall ca rotate activate"`,
    );
});

const activate = runWithServer<Strand>(async (server, { args, options, form }) => {
  const id = args[0] ?? only(await server.listCas(), ['prepared'], 'issuing');
  await server.activateCa({ id, strand: options.strand ?? 0 });
  if (form === 'json') printJson({ id });
  else printResult(`CA ${id} signs from now on; certificates of the one before it still count`);
});

const taint = runWithServer<Within>(async (server, { args, options, form }) => {
  const id = args[0] ?? only(await server.listCas(), ['outgoing'], 'issuing');
  const answer = await server.taintCa({ id, withinSeconds: seconds(options.within) });
  if (form === 'json') printJson({ id, ...answer });
  else printResult(`CA ${id} is tainted; ${answer.pulled} devices are asked to renew until ${answer.until}`);
});

const retire = runWithServer<Strand>(async (server, { args, options, form }) => {
  const id = args[0] ?? only(await server.listCas(), ['tainted', 'outgoing'], 'issuing');
  await server.retireCa({ id, strand: options.strand ?? 0 });
  if (form === 'json') printJson({ id });
  else printResult(`CA ${id} is retired; its certificates count no more`);
});

const csr = runWithServer(async (server, { form }) => {
  const answer = await server.requestCa();
  if (form === 'json') printJson(answer);
  else printResult(answer.csrPem);
});

const importCa = runWithServer(async (server, { args, form }) => {
  const { id } = await server.importCa({ pem: readText(args[0] as string) });
  if (form === 'json') printJson({ id });
  else printResult(`CA ${id} is prepared; "rollcall ca rotate activate" has it sign`);
});

interface Export {
  readonly out: string;
  readonly passphraseFile: string;
  readonly keep?: boolean;
}

const exportRoot = runWithServer<Export>(async (server, { options, form }) => {
  const passphrase = readText(options.passphraseFile).replace(/[\r\n]+$/, '');
  const { id, pem } = await server.exportRoot({ passphrase });
  const bundle = await server.trustBundle();
  const root = findCertificate(bundle, pem, passphrase);
  writeDurably(options.out, pem + root);
  // What was written is what will be needed one day: it is opened again before the key here goes.
  findCertificate(root, readText(options.out), passphrase);
  if (options.keep !== true) await server.forgetRoot({ id });
  if (form === 'json') printJson({ id, file: options.out, removed: options.keep !== true });
  else {
    printResult(
      options.keep === true
        ? `the key of root ${id} is in ${options.out}, and still on the server`
        : `the key of root ${id} is in ${options.out} and nowhere else; keep file and passphrase apart`,
    );
  }
});

interface Sign {
  readonly root: string;
  readonly passphraseFile: string;
  readonly life: number;
  readonly out?: string;
}

const sign = run<Sign>(async ({ args, options }) => {
  // Loaded only here: the other commands need nothing of the authority.
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
  else writeDurably(options.out, chain);
});

function only(cas: Cas, states: readonly Cas[number]['state'][], role: Cas[number]['role']): string {
  const found = cas.filter((ca) => ca.role === role && states.includes(ca.state));
  if (found.length === 1) return (found[0] as Cas[number]).id;
  throw new Problem('usage', {
    reason: `expected one ${role} CA that is ${states.join(' or ')}, found ${found.length}`,
    hint: 'rollcall ca show, then name the CA',
  });
}

/** The certificate in a bundle that belongs to a sealed key; throws when the passphrase doesn't open it. */
function findCertificate(bundle: string, sealed: string, passphrase: string): string {
  let spki: Buffer;
  try {
    const key = createPublicKey(createPrivateKey({ key: sealed, passphrase }));
    spki = key.export({ type: 'spki', format: 'der' });
  } catch {
    throw new Problem('internal', {
      reason: 'the exported key could not be opened again; the key on the server was left alone',
    });
  }
  const blocks = bundle.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?/g) ?? [];
  const found = blocks.find((block) =>
    new X509Certificate(block).publicKey.export({ type: 'spki', format: 'der' }).equals(spki),
  );
  if (found !== undefined) return found;
  throw new Problem('internal', { reason: 'expected the certificate of the exported key in the trust bundle' });
}

/** On the disk, and readable by its owner alone, before this returns; never over a file that exists. */
function writeDurably(file: string, text: string): void {
  let handle: number;
  try {
    handle = openSync(file, 'wx', 0o600);
  } catch (error) {
    throw new Problem('usage', { reason: `cannot write ${file}: ${(error as NodeJS.ErrnoException).code}` });
  }
  try {
    writeSync(handle, text);
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
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

export function parseCaId(text: string): string {
  if (/^[0-9a-f]{40}$/.test(text)) return text;
  throw new InvalidArgumentError('expected the id of a CA: 40 digits of hexadecimal');
}

export function caCommand(): Command {
  const ca = new Command('ca').description('root and issuing CAs, and how they are replaced');
  findsServer(ca.command('show').description('list CAs, their states and who depends on them')).action(show);

  const rotate = ca.command('rotate').description('replace a CA in stages; no session is dropped');
  const strand = ['--strand <n>', 'give up so many devices and services', integerBetween(0, 9_999_999)] as const;
  findsServer(rotate.command('prepare').description('make a CA that is trusted and signs nothing yet'))
    .option('--root', 'a root, which the root of now vouches for')
    .action(prepare);
  findsServer(rotate.command('activate').argument('[id]', 'a CA', parseCaId).description('have it sign from now on'))
    .option(...strand)
    .action(activate);
  findsServer(rotate.command('taint').argument('[id]', 'a CA', parseCaId).description('have its devices renew now'))
    .option('--within <duration>', 'in which they all shall renew, such as 1h', duration)
    .action(taint);
  findsServer(rotate.command('retire').argument('[id]', 'a CA', parseCaId).description('trust it no more'))
    .option(...strand)
    .action(retire);

  findsServer(ca.command('csr').description('print a request for an issuing CA, for a root elsewhere to sign')).action(
    csr,
  );
  findsServer(
    ca
      .command('import')
      .argument('<file>', 'PEM: the issuing CA and what leads up to its root')
      .description('take what it signed'),
  ).action(importCa);
  findsServer(ca.command('export-root').description('take the root key off this machine, under a passphrase'))
    .requiredOption('--out <file>', 'where it is written; must not exist')
    .requiredOption('--passphrase-file <file>', 'a file that holds the passphrase, at least 8 characters')
    .option('--keep', 'leave the key on the server as well')
    .action(exportRoot);
  speaksJson(
    ca
      .command('sign')
      .argument('<csr>', 'the request')
      .description('sign a request with an exported root key; needs no server'),
  )
    .requiredOption('--root <file>', 'what "ca export-root" wrote')
    .requiredOption('--passphrase-file <file>', 'a file that holds the passphrase')
    .option('--life <duration>', 'how long the issuing CA lives', duration, 3 * 365 * 24 * 3_600_000)
    .option('--out <file>', 'where it is written (default: standard output)')
    .action(sign);
  return ca;
}
