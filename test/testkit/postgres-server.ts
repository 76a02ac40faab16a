/** Debian's PostgreSQL as a child process, as the user `postgres` when the test runs as root, in a directory of its own. */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { onTestFinished } from 'vitest';
import type { ServerCredential } from './scripted-authority.ts';

export interface PostgresServer {
  readonly port: number;
  readonly socketDirectory: string;
  readonly user: 'rollcall';
  readonly password: string;
  /** The server and all of its processes, at once. */
  kill(): Promise<void>;
  /** Again, on the same port with the same files. */
  start(): Promise<void>;
}

const VERSIONS = '/usr/lib/postgresql';

function programs(): string {
  const version = readdirSync(VERSIONS).find((name) => existsSync(join(VERSIONS, name, 'bin', 'postgres')));
  return join(VERSIONS, version as string, 'bin');
}

/** It refuses to run as root. */
export function postgresOwner(): { readonly uid?: number; readonly gid?: number } {
  if (process.getuid?.() !== 0) return {};
  const [uid, gid] = ['-u', '-g'].map((flag) => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' })));
  return { uid: uid as number, gid: gid as number };
}

export interface PostgresTls {
  readonly server: ServerCredential;
  /** PEM: over TCP every client has to show a certificate of this authority, beside its password. */
  readonly clientCa?: string | undefined;
}

/** With a password over TCP and the unix socket alike, over TCP with TLS alone when it is given. Killed and removed at the end of the test. */
export async function postgresServer(tls?: PostgresTls): Promise<PostgresServer> {
  const bin = programs();
  const who = postgresOwner();
  const directory = mkdtempSync(join(tmpdir(), 'rollcall-pg-'));
  const data = join(directory, 'data');
  const password = 'not the real one';
  const passwordFile = join(directory, 'password');
  writeFileSync(passwordFile, `${password}\n`);
  chmodSync(directory, 0o700);
  if (who.uid !== undefined) for (const path of [directory, passwordFile]) chownSync(path, who.uid, who.gid as number);
  execFileSync(
    join(bin, 'initdb'),
    ['-D', data, '-U', 'rollcall', '-A', 'scram-sha-256', '-E', 'UTF8', '--locale=C', '-N', `--pwfile=${passwordFile}`],
    { ...who, cwd: directory, stdio: 'pipe' },
  );
  const encryption = tls === undefined ? [] : prepareTls(directory, tls, who);
  const port = await freePort();
  let child: ChildProcess | undefined;

  const kill = async () => {
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    // SIGQUIT is its "immediate shutdown": no checkpoint, every session cut, recovery at the next start. Killed with
    // SIGKILL it would leave processes behind that hold its shared memory.
    child.kill('SIGQUIT');
    await ended;
  };
  const start = async () => {
    const settings = [
      `unix_socket_directories=${directory}`,
      'fsync=off',
      'logging_collector=off',
      'shared_buffers=16MB',
      ...encryption,
    ];
    const args = ['-D', data, '-h', '127.0.0.1', '-p', String(port), ...settings.flatMap((setting) => ['-c', setting])];
    const started = spawn(join(bin, 'postgres'), args, { ...who, cwd: directory, stdio: ['ignore', 'ignore', 'pipe'] });
    child = started;
    const lines: string[] = [];
    const ready = Promise.withResolvers<void>();
    createInterface({ input: started.stderr }).on('line', (line) => {
      lines.push(line);
      if (line.includes('ready to accept connections')) ready.resolve();
    });
    started.once('error', ready.reject);
    started.once('exit', (code) => ready.reject(new Error(`postgres ended with ${code}\n${lines.join('\n')}`)));
    await ready.promise;
  };
  onTestFinished(async () => {
    await kill();
    rmSync(directory, { recursive: true, force: true });
  });
  await start();
  return { port, socketDirectory: directory, user: 'rollcall', password, kill, start };
}

/** Files that the server reads as its own user, and the settings that name them. */
function prepareTls(
  directory: string,
  { server, clientCa }: PostgresTls,
  who: ReturnType<typeof postgresOwner>,
): readonly string[] {
  const file = (name: string, text: string) => {
    const path = join(directory, name);
    writeFileSync(path, text, { mode: 0o600 });
    if (who.uid !== undefined) chownSync(path, who.uid, who.gid as number);
    return path;
  };
  const wanted = clientCa === undefined ? '' : ' clientcert=verify-ca';
  const access = `local all all scram-sha-256\nhostssl all all 127.0.0.1/32 scram-sha-256${wanted}\n`;
  return [
    'ssl=on',
    `ssl_cert_file=${file('server.crt', server.certificatePem)}`,
    `ssl_key_file=${file('server.key', server.keyPem)}`,
    `hba_file=${file('hba.conf', access)}`,
    ...(clientCa === undefined ? [] : [`ssl_ca_file=${file('clients.crt', clientCa)}`]),
  ];
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { readonly port: number };
  server.close();
  await once(server, 'close');
  return port;
}
