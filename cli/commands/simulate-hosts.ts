/** The command line of a run on several hosts: how they find each other, and how their shared secret stays out of `ps` and shell histories. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { formatHostPort, Problem, parseDecimal } from '@rollcall/protocol';
import { version } from '../../server/config/index.ts';
import type { PlacementStrategy } from '../../simulator/index.ts';
import { readSecretArgument } from '../secret-argument.ts';
import { untilStopped } from '../stop-signals.ts';
import { EXIT, note, type OutputForm, printJson, printResult } from '../terminal.ts';

const SECRET_VARIABLE = 'ROLLCALL_JOIN_SECRET';
/** What can be guessed is no secret. */
const SECRET_LEAST = 20;
const GATHER_MS = 600_000;
const FINGERPRINT = /^[0-9a-f]{64}$/;

export interface CoordinateOptions {
  readonly coordinate: string;
  readonly hosts?: number | undefined;
  /** How long hosts are waited for, milliseconds. */
  readonly gather?: number | undefined;
  readonly secret?: string | undefined;
}

export interface JoinedHosts {
  readonly placement: PlacementStrategy;
  /** Tells all hosts the end. */
  close(verdict: 'passed' | 'failed' | 'none'): Promise<void>;
}

/** Listens for hosts, prints how they join, and waits for all of them. */
export async function coordinateHosts(options: CoordinateOptions, signal: AbortSignal): Promise<JoinedHosts> {
  const { Coordinator } = await import('../../simulator/index.ts');
  if (options.hosts === undefined) throw new Problem('usage', { reason: 'expected --hosts N with --coordinate' });
  const place = parsePlace(options.coordinate, '--coordinate', '127.0.0.1');
  const given = joinSecret(options.secret);
  const coordinator = await Coordinator.listen({
    ...place,
    hosts: options.hosts,
    version,
    secret: given,
    now: Date.now,
    onEvent: note,
  });
  const file = given === undefined ? keepSecret(coordinator.secret) : undefined;
  const close = async (verdict: 'passed' | 'failed' | 'none') => {
    file?.remove();
    await coordinator.close(verdict);
  };
  const isAnywhere = place.host === '0.0.0.0' || place.host === '::';
  const name = isAnywhere ? hostname() : place.host;
  const address = formatHostPort(name, coordinator.port);
  if (file !== undefined) note(`the secret of this run is in ${file.path}; take it to the other hosts, as join.secret`);
  note(
    `on ${options.hosts} hosts: rollcall simulate --join ${address} --fingerprint ${coordinator.fingerprint} --secret ${given === undefined ? '@join.secret' : '@FILE'}`,
  );
  try {
    await coordinator.waitForHosts(options.gather ?? GATHER_MS, signal);
  } catch (error) {
    await close('none');
    throw error;
  }
  return { placement: coordinator.placement, close };
}

export interface JoinRunOptions {
  readonly join: string;
  readonly fingerprint?: string;
  readonly secret?: string;
  readonly name?: string;
  readonly workers?: number;
  readonly sourceAddress?: readonly string[];
}

export async function joinAsHost(options: JoinRunOptions, form: OutputForm): Promise<void> {
  const { joinRun } = await import('../../simulator/index.ts');
  const { HOST_NAME_RULE, isHostName } = await import('../../simulator/index.ts');
  const { fingerprint, workers, sourceAddress = [] } = options;
  if (fingerprint === undefined || !FINGERPRINT.test(fingerprint)) {
    throw new Problem('usage', {
      reason: 'expected --fingerprint with 64 hexadecimal digits, as the coordinator prints them',
    });
  }
  const secret = joinSecret(options.secret);
  if (secret === undefined) {
    throw new Problem('usage', { reason: `expected --secret @FILE, --secret - or the variable ${SECRET_VARIABLE}` });
  }
  const name = options.name ?? hostname();
  if (!isHostName(name)) throw new Problem('usage', { reason: `expected as --name ${HOST_NAME_RULE}` });
  const place = parsePlace(options.join, '--join', undefined);
  const verdict = await untilStopped((stopped) => {
    const leaving = new AbortController();
    void stopped.then(() => leaving.abort());
    return joinRun({
      ...place,
      ...{ fingerprint, secret, name, version, workers, sourceAddresses: sourceAddress, signal: leaving.signal },
      onJoined: () => note(`joined ${options.join} as ${name}; waiting for the run`),
    });
  });
  if (form === 'json') printJson({ event: 'over', verdict });
  else printResult(`the run is over: ${verdict === 'none' ? 'no verdict' : verdict}`);
  if (verdict !== 'passed') process.exitCode = EXIT.failed;
}

function parsePlace(
  text: string,
  option: string,
  host: string | undefined,
): { readonly host: string; readonly port: number } {
  const parts = /^(?:(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):)?(\d{1,5})$/.exec(text);
  const named = parts?.[1]?.replace(/^\[|\]$/g, '') ?? host;
  const port = parseDecimal(parts?.[2], 0, 65_535);
  if (parts !== null && named !== undefined && port !== undefined) return { host: named, port };
  throw new Problem('usage', { reason: `expected ${option} ${host === undefined ? 'HOST:PORT' : '[HOST:]PORT'}` });
}

/** From `@FILE`, standard input, or the environment; never from the command line itself. */
function joinSecret(argument: string | undefined): string | undefined {
  if (argument !== undefined && argument !== '-' && !argument.startsWith('@')) {
    throw new Problem('usage', {
      reason: 'expected --secret @FILE or --secret -: a command line can be read by others',
    });
  }
  const secret = argument === undefined ? process.env[SECRET_VARIABLE] : readSecretArgument(argument, '--secret');
  if (secret === undefined || secret === '') return undefined;
  if (secret.length >= SECRET_LEAST && secret.length <= 256) return secret;
  throw new Problem('usage', { reason: `expected a secret of ${SECRET_LEAST} to 256 characters` });
}

function keepSecret(secret: string): { readonly path: string; remove(): void } {
  const directory = mkdtempSync(join(tmpdir(), 'rollcall-join-'));
  const path = join(directory, 'secret');
  writeFileSync(path, `${secret}\n`, { mode: 0o600, flag: 'wx' });
  return { path, remove: () => rmSync(directory, { recursive: true, force: true }) };
}
