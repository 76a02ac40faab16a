/**
 * Which programs of other people tests need, where they are on this machine, and the Debian packages that bring what is
 * missing. Starts nothing but probes. Where everything has to be there (ROLLCALL_TEST_REQUIRE_CLIENTS) a suite fails that
 * would be skipped elsewhere.
 */

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

interface ClientProgram {
  readonly file: string;
  /** Where else to look than in the path: servers aren't in everyone's. */
  readonly directories?: readonly string[];
  /** Arguments with which it ends well if it can do what is needed of it. */
  readonly probe?: readonly string[];
  /** What its probe asks for: a module or plugin, with the package that brings it. */
  readonly part?: { readonly name: string; readonly debianPackage: string };
  /** Files that have to be there beside it: at least one of them. */
  readonly oneOf?: readonly string[];
  /** A program of the same machine that starts it, with its arguments. */
  readonly through?: readonly [file: string, ...args: string[]];
  readonly debianPackage: string;
  /** What makes it once the packages are there. */
  readonly madeBy?: string;
}

/** OpenSSL's engine for such tokens, one path per machine. */
export const PKCS11_ENGINES = ['x86_64', 'aarch64'].map(
  (machine) => `/usr/lib/${machine}-linux-gnu/engines-3/pkcs11.so`,
);
/** The library of SoftHSM, which keeps PKCS#11 tokens in files. */
export const SOFTHSM_MODULE = '/usr/lib/softhsm/libsofthsm2.so';

const CLIENTS = {
  bash: { file: 'bash', debianPackage: 'bash' },
  chromium: { file: 'chromium', debianPackage: 'chromium' },
  certtool: { file: 'certtool', debianPackage: 'gnutls-bin' },
  curl: { file: 'curl', debianPackage: 'curl' },
  'gnutls-cli': { file: 'gnutls-cli', debianPackage: 'gnutls-bin' },
  faketime: { file: 'faketime', debianPackage: 'faketime' },
  haproxy: { file: 'haproxy', directories: ['/usr/sbin'], debianPackage: 'haproxy' },
  nginx: { file: 'nginx', directories: ['/usr/sbin'], debianPackage: 'nginx-light' },
  mosquitto: { file: 'mosquitto', directories: ['/usr/sbin', '/usr/local/sbin'], debianPackage: 'mosquitto' },
  mosquitto_pub: { file: 'mosquitto_pub', debianPackage: 'mosquitto-clients' },
  // Into a pipe it would write what it has to say when it ends.
  mosquitto_sub: { file: 'mosquitto_sub', through: ['stdbuf', '-oL'], debianPackage: 'mosquitto-clients' },
  openssl: { file: 'openssl', debianPackage: 'openssl' },
  'openssl-pkcs11': {
    file: 'openssl',
    oneOf: PKCS11_ENGINES,
    part: { name: 'engine pkcs11', debianPackage: 'libengine-pkcs11-openssl' },
    debianPackage: 'openssl',
  },
  'nats-server': {
    file: 'nats-server',
    directories: ['/usr/sbin', '/usr/local/bin'],
    debianPackage: 'nats-server',
  },
  // The distribution's own interpreter: another one in the path doesn't see the distribution's modules.
  paho: {
    file: '/usr/bin/python3',
    probe: ['-c', 'import paho.mqtt.client'],
    part: { name: 'module paho.mqtt', debianPackage: 'python3-paho-mqtt' },
    debianPackage: 'python3',
  },
  python3: { file: 'python3', debianPackage: 'python3' },
  postgres: {
    file: 'postgres',
    directories: ['15', '16', '17', '18'].map((version) => `/usr/lib/postgresql/${version}/bin`),
    debianPackage: 'postgresql',
  },
  pgbouncer: { file: 'pgbouncer', directories: ['/usr/sbin'], debianPackage: 'pgbouncer' },
  'systemd-analyze': { file: 'systemd-analyze', debianPackage: 'systemd' },
  'softhsm2-util': {
    file: 'softhsm2-util',
    oneOf: [SOFTHSM_MODULE],
    part: { name: 'libsofthsm2.so', debianPackage: 'libsofthsm2' },
    debianPackage: 'softhsm2',
  },
  'pkcs11-addon': {
    file: fileURLToPath(new URL('../../node_modules/pkcs11js/build/Release/pkcs11.node', import.meta.url)),
    debianPackage: 'g++ make python3',
    madeBy: 'npm run build:pkcs11',
  },
  // Without this plugin it knows no elliptic curves, neither in keys nor in certificates.
  pki: {
    file: 'pki',
    probe: ['--gen', '--type', 'ecdsa', '--size', '256'],
    part: { name: 'plugin openssl', debianPackage: 'libstrongswan-standard-plugins' },
    debianPackage: 'strongswan-pki',
  },
} as const satisfies Record<string, ClientProgram>;

export type ClientName = keyof typeof CLIENTS;

/** The start of its command line, or what is missing and the package that brings it. */
type Found =
  | { readonly command: readonly string[] }
  | { readonly missing: string; readonly debianPackages: readonly string[] };

const found = new Map<ClientName, Found>();

function look(name: ClientName): Found {
  const known = found.get(name);
  if (known !== undefined) return known;
  const looked = lookFor(name, CLIENTS[name]);
  found.set(name, looked);
  return looked;
}

function lookFor(name: string, client: ClientProgram): Found {
  const { file, directories, probe, part, oneOf, through, debianPackage } = client;
  const program = findProgram(file, directories);
  if (program === undefined) {
    return {
      missing: name,
      debianPackages: part === undefined ? [debianPackage] : [debianPackage, part.debianPackage],
    };
  }
  const isWhole =
    (oneOf === undefined || oneOf.some((path) => existsSync(path))) &&
    (probe === undefined || spawnSync(program, probe, { stdio: 'ignore', timeout: 10_000 }).status === 0);
  if (!isWhole) {
    return {
      missing: part === undefined ? `a working ${name}` : `${part.name} of ${file}`,
      debianPackages: [part?.debianPackage ?? debianPackage],
    };
  }
  if (through === undefined) return { command: [program] };
  const starter = findProgram(through[0]);
  if (starter === undefined) return { missing: through[0], debianPackages: ['coreutils'] };
  return { command: [starter, ...through.slice(1), program] };
}

function findProgram(file: string, directories: readonly string[] = []): string | undefined {
  const path = [...(process.env.PATH ?? '').split(delimiter), ...directories];
  const candidates = file.startsWith('/') ? [file] : path.filter(Boolean).map((directory) => join(directory, file));
  return candidates.find((candidate) => existsSync(candidate));
}

/** Where programs have to be there, suites that lack one fail instead of being skipped. */
export const areClientsRequired = (process.env.ROLLCALL_TEST_REQUIRE_CLIENTS ?? '') !== '';

/** The start of a program's command line. Throws with the missing package's name. */
export function clientCommand(name: ClientName): readonly string[] {
  const looked = look(name);
  if ('command' in looked) return looked.command;
  throw new Error(missingClients([name]));
}

/** What of these is missing and how to install it, or undefined. */
export function missingClients(names: readonly ClientName[]): string | undefined {
  const missing = names.map(look).filter((one) => 'missing' in one);
  if (missing.length === 0) return undefined;
  const packages = new Set(missing.flatMap(({ debianPackages }) => debianPackages));
  const commands = names.flatMap((name) => {
    const client: ClientProgram = CLIENTS[name];
    return client.madeBy === undefined ? [] : [client.madeBy];
  });
  const remedy = [`apt-get install ${[...packages].join(' ')}`, ...commands].join(', then ');
  return `not installed: ${missing.map((one) => one.missing).join(', ')} (Debian: ${remedy})`;
}

const told = new Set<ClientName>();

/** Whether a test can ask it. Says what is missing; throws it where every program has to be there. */
export function installed(name: ClientName): boolean {
  const missing = missingClients([name]);
  if (missing === undefined) return true;
  if (areClientsRequired) throw new Error(missing);
  if (!told.has(name)) process.stderr.write(`skipped: what needs ${name}; ${missing}\n`);
  told.add(name);
  return false;
}

/** Real clients ask the system's resolver for `localhost`, which Rollcall itself does not need. */
export function missingLocalhost(): string | undefined {
  isLocalhostKnown ??= findProgram('getent') === undefined || spawnSync('getent', ['hosts', 'localhost']).status === 0;
  return isLocalhostKnown ? undefined : 'localhost is unknown: add the line "127.0.0.1 localhost" to /etc/hosts';
}
let isLocalhostKnown: boolean | undefined;
