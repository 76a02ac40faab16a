/** What a running server finds out about itself: one finding per check, in the order in which causes come before their effects. */

import { isLoopbackHost, serverUrl, urlHost } from '@rollcall/protocol';
import type { ClockState, Finding, NodeControl, ServerExamination } from '../../console/index.ts';
import type { Authority, createExpiryList } from '../../enroll/index.ts';
import { nodesWithoutKey } from '../cluster/ca-keys.ts';
import type { ServerContext } from '../context.ts';
import { runtimeText } from '../runtime.ts';
import type { Stores } from '../store-options.ts';
import {
  clockFinding,
  directoryFinding,
  diskFinding,
  failed,
  keyFilesFinding,
  ok,
  openFilesFinding,
  problemFinding,
  warning,
} from './machine-findings.ts';
import { nodeFinding } from './node-findings.ts';
import { sharedStoreFindings } from './shared-store-findings.ts';

export interface ExaminationParts {
  readonly context: ServerContext;
  readonly stores: Stores;
  readonly authority: Authority;
  readonly expiry: ReturnType<typeof createExpiryList>;
  /** The port on which devices enroll. */
  readonly enrollPort: number;
  /** In tokens of this server. */
  readonly enrollUrl: string;
  readonly mqttPort: number;
  readonly nodes: Pick<NodeControl, 'list'>;
  readonly clock: () => ClockState;
}

const MONTH_MS = 30 * 86_400_000;
/** Listed one by one; more are counted. */
const EXPIRING_SHOWN = 5;
const EXPIRING_READ = 100;
/** Events that wait for the disk, above which the journal does not follow. */
const EVENTS_WAITING = 10_000;

/** Never rejects because of what it finds. */
export async function examineServer(parts: ExaminationParts): Promise<ServerExamination> {
  const { context, authority, enrollPort } = parts;
  const { config, data, version, now } = context;
  const findings: Finding[] = [
    ok('version', `rollcall ${version} on ${runtimeText}, process ${process.pid}${ofNode(context)}`),
    directoryFinding(data.path),
    ok('lock', 'this server holds the data directory'),
    keyFilesFinding(data),
    parts.clock() === 'behind' ? CLOCK_BEHIND : clockFinding(now()),
    ...listenerFindings(parts),
    ...(await storeFindings(parts)),
    nodeFinding(await parts.nodes.list()),
    ...(await caught('CA keys', () => caKeyFindings(parts))),
    ...(await caught('certificates', async () => certificateFindings(authority))),
    ...(await caught('expiry', () => expiryFindings(parts))),
    ...(await caught('disk', async () => [await diskFinding(data.path)])),
    ...(await caught('journal', () => journalFindings(parts.stores))),
    eventsFinding(parts.stores),
    sessionsFinding(parts.stores),
    ...sinkFindings(parts.stores),
    openFilesFinding(true),
  ];
  return {
    findings,
    enrollUrls: config.node.roles.includes('enroll')
      ? announcedHosts(config.publicHosts).map((host) => serverUrl('https', host, enrollPort))
      : [parts.enrollUrl],
    rootSha256: authority.trust.rootSha256,
  };
}

/** Where it is one of several, so that an answer over a load balancer says whose it is. */
function ofNode({ cluster }: ServerContext): string {
  return cluster === undefined ? '' : `, ${cluster.node} of several nodes`;
}

const CLOCK_BEHIND = failed(
  'clock',
  'it is behind the newest entry of the audit: it was set back',
  'set the clock (timedatectl set-ntp true) before certificates are issued',
);

async function storeFindings({ context: { cluster, config, now } }: ExaminationParts): Promise<readonly Finding[]> {
  return cluster === undefined ? [] : sharedStoreFindings(cluster.database, config, now);
}

/** Of nodes that share a store. */
async function caKeyFindings({ context: { cluster }, authority }: ExaminationParts): Promise<readonly Finding[]> {
  if (cluster === undefined) return [];
  const nodes = await cluster.nodes();
  const lacking = authority.cas.issuing
    .filter(({ record }) => record.state === 'active' || record.state === 'prepared')
    .map(({ id, record }) => ({ id, state: record.state, names: nodesWithoutKey(nodes, id) }))
    .filter(({ names }) => names.length > 0);
  if (lacking.length === 0) return [ok('CA keys', 'every node with the role enroll that runs has those that it needs')];
  const fix =
    'its log says why no node sent it; or copy issuing-* from ca/ of a node that has it (docs/grow-beyond-one-machine.md#keys-of-the-ca)';
  return lacking.map(({ id, state, names }) => {
    const text = `the key of the ${state} issuing CA ${id} is not on ${names.join(', ')}`;
    return state === 'active'
      ? failed('CA keys', `${text}: enrollments and renewals there are answered with 503`, fix)
      : warning('CA keys', text, `${fix}, before it is activated`);
  });
}

async function caught(check: string, examine: () => Promise<readonly Finding[]>): Promise<readonly Finding[]> {
  try {
    return await examine();
  } catch (error) {
    return [problemFinding(check, error)];
  }
}

function listenerFindings({ context, enrollPort, enrollUrl, mqttPort }: ExaminationParts): readonly Finding[] {
  const { enroll, mqtt, node } = context.config;
  const est = node.roles.includes('enroll') ? `EST on ${enroll.host} port ${enrollPort}` : 'no EST';
  const isListening = node.roles.includes('mqtt');
  const listening = `${est}, ${isListening ? `MQTT on ${mqtt.host} port ${mqttPort}` : 'no MQTT'}`;
  const first = urlHost(enrollUrl);
  const found = `${listening}; tokens name ${first}`;
  if (!isLoopbackHost(first)) return [ok('listeners', found)];
  const fix = 'for devices on other machines: --host ADDRESS --public-host NAME';
  return [warning('listeners', `${found}, which only this machine can call`, fix)];
}

/** The first is in every token. Further names of this machine are for programs on it. */
function announcedHosts([first = '', ...others]: readonly string[]): readonly string[] {
  return [first, ...others.filter((host) => !isLoopbackHost(host))];
}

function certificateFindings({ serverCertificates }: Authority): readonly Finding[] {
  const errors = Object.entries(serverCertificates.fileErrors());
  if (errors.length === 0) return [ok('certificates', 'every listener uses the certificate that it should')];
  return errors.map(([name, error]) =>
    failed(
      'certificates',
      `the ${name} server uses an older certificate than its files have: ${error}`,
      'correct the files; they are read again at once',
    ),
  );
}

/** Devices and tokens are too many for a line each, and renew or end by themselves: only late ones are counted. */
async function expiryFindings({ expiry, context }: ExaminationParts): Promise<readonly Finding[]> {
  const until = context.now() + MONTH_MS;
  const late = await expiry.list({ which: 'late', until, kinds: KINDS, limit: EXPIRING_READ });
  const ending = await expiry.list({ which: 'ending', until, kinds: FEW, limit: EXPIRING_READ });
  const lateIds = new Set(late.map(({ kind, id }) => `${kind} ${id}`));
  const soon = ending.filter(({ kind, id, renewedBy }) => !lateIds.has(`${kind} ${id}`) && renewedBy !== 'server');
  if (late.length === 0 && soon.length === 0)
    return [ok('expiry', 'nothing is late to renew, and nothing that an operator renews expires within 30 days')];
  const findings = [
    ...late.slice(0, EXPIRING_SHOWN).map((item) => failed('expiry', `${described(item)}, late to renew`, item.action)),
    ...soon.slice(0, EXPIRING_SHOWN).map((item) => warning('expiry', described(item), item.action)),
  ];
  const more = late.length + soon.length - findings.length;
  if (more === 0) return findings;
  return [
    ...findings,
    warning('expiry', `and ${more} more, or more than that`, 'rollcall certificates expiring, and --late'),
  ];
}

const FEW = ['service', 'server', 'root', 'issuing-ca', 'cross-certificate', 'ocsp-signer', 'crl'] as const;
const KINDS = ['device', ...FEW] as const;

function described({
  kind,
  name,
  id,
  expiresAt,
}: {
  kind: string;
  name: string;
  id: string;
  expiresAt: number;
}): string {
  return `${kind} ${name} (${id}) expires ${new Date(expiresAt).toISOString()}`;
}

async function journalFindings({ telemetry }: Stores): Promise<readonly Finding[]> {
  const { messages, bytes, segments, damaged } = await telemetry.stats();
  const { isDiskLow, isHeld, isUnderPressure, queuedBytes, heldDevices, heldGroups } = telemetry.counters();
  const size = `${messages} messages in ${segments.length} files, ${(bytes / 1_048_576).toFixed(1)} MiB`;
  const findings: Finding[] = [];
  if (isDiskLow)
    findings.push(
      failed(
        'journal',
        `the disk is nearly full, and no telemetry is stored; ${size}`,
        'free space, or set telemetry.retention',
      ),
    );
  else if (isHeld)
    findings.push(failed('journal', `the last write failed and is repeated; ${size}`, 'the reason is in the log'));
  else if (isUnderPressure)
    findings.push(warning('journal', `storage is behind: ${queuedBytes} bytes wait; ${size}`, 'docs/overload.md'));
  else findings.push(ok('journal', `readable, nothing waits; ${size}`));
  if (damaged.length > 0) {
    findings.push(
      failed(
        'journal',
        `damaged and set aside: ${damaged.join(', ')}`,
        'restore a backup, or remove these files once they are not needed',
      ),
    );
  }
  if (heldDevices + heldGroups > 0) {
    findings.push(
      warning(
        'journal',
        `${heldDevices} devices and ${heldGroups} groups are over their share of today and held back`,
        'docs/telemetry.md, Shares',
      ),
    );
  }
  return findings;
}

function eventsFinding({ events }: Stores): Finding {
  const { dropped, waiting, recorded } = events.log.counters();
  if (dropped > 0)
    return warning(
      'events',
      `${dropped} events could not be stored since the start`,
      'the reason is in the log ("events are dropped")',
    );
  if (waiting > EVENTS_WAITING)
    return warning('events', `${waiting} events wait to be stored`, 'the disk is slow, or many devices reconnect');
  return ok('events', `${recorded} stored since the start, ${waiting} wait`);
}

function sessionsFinding({ sessions }: Stores): Finding {
  const { storedBytes, isNearlyFull } = sessions.store.counters();
  const found = `${(storedBytes / 1_048_576).toFixed(1)} MiB are stored for sessions`;
  if (!isNearlyFull) return ok('sessions', found);
  return warning(
    'sessions',
    `${found}: nearly full, or an owner was refused in the last ten minutes`,
    'docs/sessions.md, Shares',
  );
}

function sinkFindings({ sinks }: Stores): readonly Finding[] {
  const all = sinks.list();
  if (all.length === 0) return [{ check: 'sinks', outcome: 'skipped', found: 'none is configured' }];
  return all.map(({ name, state, reason, lagMessages, lagMs }) => {
    const lag = `${lagMessages} messages, ${Math.round(lagMs / 1_000)} s behind`;
    if (state !== 'down') return ok('sinks', `${name} is ${state}, ${lag}`);
    return failed(
      'sinks',
      `${name} is down: ${reason ?? 'the reason is in the log'}; ${lag}`,
      `rollcall sink show ${name}`,
    );
  });
}
