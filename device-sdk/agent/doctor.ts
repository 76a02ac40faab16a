/**
 * Diagnoses why this device cannot connect: checks each requirement of a connection in order, with the finding and the fix.
 * It changes nothing, uses no token and shows no secret.
 */

import { X509Certificate } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { existsSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import {
  addressOptions,
  type BootstrapToken,
  isLocalhost,
  parseBootstrapToken,
  parseDecimal,
  parseServerTime,
  TIME_PATH,
  urlHost,
} from '@rollcall/protocol';
import { findPinnedRoot } from '../certificate-chain.ts';
import { Device } from '../device.ts';
import { asDeviceError, type DeviceError } from '../device-error.ts';
import { fetchCaCertificates } from '../est-client.ts';
import { fileIdentityStore } from '../file-identity-store.ts';
import { exchange, type HttpsPeer } from '../https-exchange.ts';
import type { IdentityStore, StoredIdentity } from '../identity-store.ts';
import { proveBroker } from '../server-check.ts';
import { agentClient } from './agent-client.ts';
import type { AgentStatus } from './agent-device.ts';
import { addressText, findPortFault } from './loopback-port.ts';
import type { AgentSettings, LoopbackAddress } from './settings.ts';

export interface Finding {
  readonly check:
    | 'agent'
    | 'listen'
    | 'identity'
    | 'certificate'
    | 'names'
    | 'network'
    | 'server'
    | 'clock'
    | 'connection'
    | 'rules';
  /** `skipped`: an earlier check failed. */
  readonly outcome: 'ok' | 'warning' | 'failed' | 'skipped';
  /** What was found, in words. */
  readonly found: string;
  /** The fix, if the check failed. */
  readonly fix?: string;
}

export interface DoctorOptions {
  readonly settings: AgentSettings;
  /** Milliseconds since 1970, by this machine. */
  readonly now: () => number;
}

const NETWORK_MS = 10_000;
const BROKER_MS = 20_000;
const SKEW_TOLERATED_MS = 60_000;
const DAY_MS = 86_400_000;
const DEFAULT_HTTPS_PORT = 443;

/** What the later checks stand on. */
interface Known {
  readonly identity: StoredIdentity | undefined;
  readonly token: BootstrapToken | undefined;
}

/** Findings in the order of the checks; it never rejects. */
export async function diagnose({ settings, now }: DoctorOptions): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  const running = await agentClient(settings.socket)
    .status()
    .catch(() => undefined);
  findings.push(agentFinding(running, settings));
  if (settings.listen !== undefined && running === undefined) findings.push(await listenFinding(settings.listen));

  // 1. Who is this device?
  const [identityFinding, known] = await findIdentity(settings);
  findings.push(identityFinding);
  if (known === undefined) return findings;
  if (known.identity !== undefined) findings.push(certificateFinding(known.identity, now()));

  // 2. Can its servers be found and reached?
  const addresses = addressesOf(known, settings);
  const names = await namesFinding(addresses);
  findings.push(names);
  const network = names.outcome === 'ok' ? await networkFinding(addresses) : skipped('network');
  findings.push(network);
  if (network.outcome !== 'ok') return findings;

  // 3. Are they of its fleet, and what time is it there?
  findings.push(...(await serverFindings(known, now)));
  if (findings.some(({ check, outcome }) => check === 'server' && outcome === 'failed')) return findings;

  // 4. Do they let it in, and let it speak?
  findings.push(...(await connectionFindings(known.identity, running)));
  return findings;
}

function agentFinding(running: AgentStatus | undefined, { socket }: AgentSettings): Finding {
  if (running === undefined) {
    return { check: 'agent', outcome: 'ok', found: `none answers at ${socket}; the checks below are made without one` };
  }
  const { state, since, error, queue } = running;
  const waiting = queue === null ? '' : `, ${queue.messages} messages wait`;
  const why = error === null ? '' : `: ${error.message}`;
  const isWell = error === null;
  return {
    check: 'agent',
    outcome: isWell ? 'ok' : 'warning',
    found: `${state} since ${since}${waiting}${why}`,
    ...(!isWell && { fix: 'the checks below say more' }),
  };
}

/** Of an agent that does not run: one that runs has the port. */
async function listenFinding(address: LoopbackAddress): Promise<Finding> {
  const fault = await findPortFault(address);
  const text = addressText(address);
  if (fault === undefined) return { check: 'listen', outcome: 'ok', found: `${text} is free for applications` };
  return {
    check: 'listen',
    outcome: 'failed',
    found: fault.message,
    fix: 'the agent cannot start before; change "listen" in its settings, or end the other program',
  };
}

async function findIdentity(settings: AgentSettings): Promise<readonly [Finding, Known | undefined]> {
  let identity: StoredIdentity | undefined;
  try {
    // Opening a store makes its directory, which then would be the doctor's.
    identity = existsSync(settings.state) ? await fileIdentityStore(settings.state).load() : undefined;
  } catch (error) {
    const { code, message } = asDeviceError(error, 'identity_unusable');
    const fix =
      code === 'private_key_exposed'
        ? `chmod 600 ${settings.state}/key.pem, and enroll anew if others may have read it`
        : `run this as the agent's user; if a file is damaged, remove ${settings.state}/cert.pem and enroll with a token created for this device (--device): its queue stays`;
    return [{ check: 'identity', outcome: 'failed', found: message, fix }, undefined];
  }
  if (identity !== undefined) {
    const found = `enrolled as ${identity.deviceId}, in ${settings.state}`;
    return [
      { check: 'identity', outcome: 'ok', found },
      {
        identity: {
          ...identity,
          enrollUrl: settings.enroll ?? identity.enrollUrl,
          mqttUrl: settings.broker ?? identity.mqttUrl,
        },
        token: undefined,
      },
    ];
  }
  const text = firstLine(settings.tokenFile);
  const read = text === undefined ? undefined : parseBootstrapToken(text);
  if (read !== undefined) {
    const token = { ...read, enrollUrl: settings.enroll ?? read.enrollUrl };
    const found = `not enrolled; the token in ${settings.tokenFile} is for ${token.enrollUrl}`;
    return [
      { check: 'identity', outcome: 'ok', found },
      { identity, token },
    ];
  }
  const found = text === undefined ? `not enrolled, and no token in ${settings.tokenFile}` : 'the token is not whole';
  const fix = `put what "rollcall token create" prints into ${settings.tokenFile}, readable for the agent's user only`;
  return [{ check: 'identity', outcome: 'failed', found, fix }, undefined];
}

function certificateFinding({ certificatePem }: StoredIdentity, now: number): Finding {
  const leaf = new X509Certificate(certificatePem);
  const [from, to] = [Date.parse(leaf.validFrom), Date.parse(leaf.validTo)];
  const span = `${new Date(from).toISOString()} to ${new Date(to).toISOString()}`;
  if (now < from) {
    const found = `valid from ${span}, and this machine says it is ${new Date(now).toISOString()}`;
    return { check: 'certificate', outcome: 'failed', found, fix: "set this machine's clock" };
  }
  if (now > to) {
    const found = `expired: it was valid from ${span}`;
    return { check: 'certificate', outcome: 'failed', found, fix: 'enroll again with a new bootstrap token' };
  }
  const days = Math.floor((to - now) / DAY_MS);
  const isLate = now > from + (to - from) * 0.9;
  return {
    check: 'certificate',
    outcome: isLate ? 'warning' : 'ok',
    found: `valid for ${days} more days, serial ${leaf.serialNumber.toLowerCase()}`,
    ...(isLate && { fix: 'it should have been renewed by now: rollcall-device renew' }),
  };
}

interface Address {
  readonly host: string;
  readonly port: number;
}

function addressesOf({ identity, token }: Known, { broker }: AgentSettings): readonly Address[] {
  const urls = [identity?.enrollUrl ?? token?.enrollUrl, broker ?? identity?.mqttUrl];
  return urls
    .filter((url) => url !== undefined)
    .map((url) => {
      const { port } = new URL(url);
      return { host: urlHost(url), port: parseDecimal(port, 0, 65_535) ?? DEFAULT_HTTPS_PORT };
    });
}

async function namesFinding(addresses: readonly Address[]): Promise<Finding> {
  const found: string[] = [];
  for (const host of new Set(addresses.map((address) => address.host))) {
    try {
      if (isLocalhost(host)) {
        found.push(`${host} is this machine`);
        continue;
      }
      const { address } = await lookup(host);
      found.push(host === address ? host : `${host} is ${address}`);
    } catch (error) {
      return {
        check: 'names',
        outcome: 'failed',
        found: `${host} was not found: ${(error as NodeJS.ErrnoException).code}`,
        fix: 'check the DNS server of this network, or the name the server announces (public-hosts)',
      };
    }
  }
  return { check: 'names', outcome: 'ok', found: found.join(', ') };
}

async function networkFinding(addresses: readonly Address[]): Promise<Finding> {
  for (const address of addresses) {
    const error = await reach(address);
    if (error !== undefined) {
      return {
        check: 'network',
        outcome: 'failed',
        found: `${address.host} port ${address.port} can't be reached: ${error}`,
        fix: 'check that the server runs, and that no firewall on the way closes this port',
      };
    }
  }
  return {
    check: 'network',
    outcome: 'ok',
    found: addresses.map(({ host, port }) => `${host} port ${port}`).join(', '),
  };
}

function reach({ host, port }: Address): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: NETWORK_MS, ...addressOptions(host) });
    const end = (result: string | undefined) => {
      socket.destroy();
      resolve(result);
    };
    socket.once('connect', () => end(undefined));
    socket.once('timeout', () => end(`no answer in ${NETWORK_MS / 1000} s`));
    socket.once('error', (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
  });
}

const UNTRUSTED_FIX =
  'this is another server, or something in between that reads along; if the fleet has a new root, enroll with a new token';

async function serverFindings({ identity, token }: Known, now: () => number): Promise<readonly Finding[]> {
  try {
    const root = identity?.rootPem ?? (await pinnedRoot(token as BootstrapToken));
    const url = identity?.enrollUrl ?? (token as BootstrapToken).enrollUrl;
    if (root === undefined) {
      const found = `none of the CA certificates at ${url} is the one that the token names`;
      return [{ check: 'server', outcome: 'failed', found, fix: 'use a token that this server created' }];
    }
    const clock = await clockFinding({ url, root, rootCrl: identity?.rootCrlPem }, now);
    if (identity !== undefined) {
      const { mqttUrl, rootPem, rootCrlPem } = identity;
      await proveBroker(mqttUrl, { rootsPem: rootPem, rootCrlPem, dates: 'system' });
    }
    return [{ check: 'server', outcome: 'ok', found: "it belongs to this device's fleet" }, clock];
  } catch (thrown) {
    const error = asDeviceError(thrown, 'server_untrusted');
    return [{ check: 'server', outcome: 'failed', found: error.message, fix: fixOf(error, now()) }];
  }
}

function fixOf({ message }: DeviceError, now: number): string {
  if (!/CERT_NOT_YET_VALID|CERT_HAS_EXPIRED/.test(message)) return UNTRUSTED_FIX;
  return `this machine says it is ${new Date(now).toISOString()}: set its clock, or renew the server's certificate`;
}

async function pinnedRoot({ enrollUrl, rootSha256 }: BootstrapToken): Promise<string | undefined> {
  return findPinnedRoot(await fetchCaCertificates({ url: enrollUrl, root: 'unverified' }), rootSha256)?.toString();
}

async function clockFinding(peer: HttpsPeer, now: () => number): Promise<Finding> {
  const answer = await exchange(peer, { method: 'GET', path: TIME_PATH, maxBytes: 4_096, timeout: NETWORK_MS });
  const told = answer.status === 200 ? parseServerTime(answer.body.toString('utf8'))?.unixMs : undefined;
  if (told === undefined) return { check: 'clock', outcome: 'ok', found: 'this server does not tell the time' };
  const ahead = now() - told;
  if (Math.abs(ahead) <= SKEW_TOLERATED_MS) return { check: 'clock', outcome: 'ok', found: 'as the server says' };
  const found = `${Math.round(Math.abs(ahead) / 1000)} s ${ahead > 0 ? 'ahead of' : 'behind'} the server`;
  return { check: 'clock', outcome: 'warning', found, fix: "set this machine's clock, and let NTP keep it" };
}

async function connectionFindings(
  identity: StoredIdentity | undefined,
  running: AgentStatus | undefined,
): Promise<readonly Finding[]> {
  if (identity === undefined) {
    return [{ check: 'connection', outcome: 'skipped', found: 'not enrolled yet: rollcall-device run enrolls' }];
  }
  if (running !== undefined) {
    if (running.state === 'connected') return [{ check: 'connection', outcome: 'ok', found: 'the agent is connected' }];
    const found = running.error?.message ?? `the agent is ${running.state}`;
    return [{ check: 'connection', outcome: 'failed', found, fix: connectionFix(running.error?.code) }];
  }
  return connectOnce(identity);
}

/** As the agent connects, but with nothing kept: the queue stays untouched, and no renewal begins. */
async function connectOnce(identity: StoredIdentity): Promise<readonly Finding[]> {
  const device = await Device.open({ store: onlyRead(identity), queue: 'memory', renewal: 'manual' });
  try {
    await within(device.connected(), BROKER_MS);
  } catch (thrown) {
    const error = device.lastError ?? asDeviceError(thrown, 'connection_lost');
    await device.close();
    return [
      { check: 'connection', outcome: 'failed', found: error.message, fix: connectionFix(error.code) },
      skipped('rules'),
    ];
  }
  const accepted: Finding = { check: 'connection', outcome: 'ok', found: 'the broker accepted this device' };
  try {
    const disconnected = new Promise<never>((_, reject) => {
      device.onState((_state, error) => reject(error));
    });
    const acknowledged = device.publishEvent('doctor', { check: 'rules' }).then((receipt) => receipt.acknowledged);
    await Promise.race([within(acknowledged, BROKER_MS), disconnected]);
    return [accepted, { check: 'rules', outcome: 'ok', found: 'an event of its own was acknowledged' }];
  } catch {
    const fix = `rollcall policy explain ${identity.deviceId} publish devices/${identity.deviceId}/events/doctor`;
    const found = 'the broker accepts this device, and no event from it';
    return [accepted, { check: 'rules', outcome: 'warning', found, fix }];
  } finally {
    await device.close();
  }
}

function connectionFix(code: string | undefined): string {
  if (code === 'connection_refused' || code === 'device_revoked' || code === 'certificate_rejected') {
    return 'ask an operator: "rollcall device show ID" says whether it is revoked; a new token enrolls it again';
  }
  return 'look at the log of the agent and of the server at this moment';
}

function onlyRead(identity: StoredIdentity): IdentityStore {
  const refuse = async () => {
    throw new Error('the doctor changes nothing');
  };
  return {
    load: async () => identity,
    loadPending: async () => undefined,
    savePending: refuse,
    dropPending: refuse,
    commit: refuse,
  };
}

function skipped(check: Finding['check']): Finding {
  return { check, outcome: 'skipped', found: 'fix the one above first' };
}

function firstLine(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8').split('\n', 1)[0]?.trim() || undefined;
  } catch {
    return undefined;
  }
}

async function within<T>(promise: Promise<T>, milliseconds: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer in ${milliseconds / 1000} s`)), milliseconds);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
