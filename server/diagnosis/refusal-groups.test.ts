import type { DeviceId, LifecycleEvent, LifecycleType } from '@rollcall/protocol';
import { describe, expect, it } from 'vitest';
import type { RefusalQuery } from '../../console/index.ts';
import { positionNumber } from '../../telemetry/index.ts';
import { positionOf } from '../../telemetry/position.ts';
import type { NewestEvents } from '../events/event-log.ts';
import { createRefusalControl } from './refusal-groups.ts';

const START = Date.UTC(2030, 0, 1);
const MINUTE = 60_000;
const HOUR: RefusalQuery = { since: START, until: START + 60 * MINUTE, limit: 10 };

interface Stored {
  readonly type: LifecycleType;
  readonly subject?: string;
  readonly data: LifecycleEvent['data'];
  /** Minutes after the start. */
  readonly at?: number;
}

function controlOf(...stored: readonly Stored[]) {
  const asked: NewestEvents[] = [];
  const control = createRefusalControl({
    newest: async (query) => {
      asked.push(query);
      return stored
        .filter(({ type }) => type === query.type)
        .filter(({ subject = '-' }) => query.name === undefined || query.name === subject.split('/').at(-1))
        .map(({ type, subject, data, at = 1 }, index) => {
          const time = new Date(START + at * MINUTE).toISOString();
          const json = Buffer.from(JSON.stringify({ type: `fleet.${type}`, subject, time, data }));
          return { position: positionOf(index), type, name: '-', json };
        })
        .filter(({ position }) => query.before === undefined || positionNumber(position) < positionNumber(query.before))
        .slice(-query.limit);
    },
  });
  return { control, asked, list: (query: Partial<RefusalQuery> = {}) => control.list({ ...HOUR, ...query }) };
}

const untrusted = (subject: string, more: LifecycleEvent['data'] = {}): Stored['data'] => ({
  ...{ reason: 'certificate_untrusted', detail: 'SELF_SIGNED_CERT_IN_CHAIN', ip: '192.0.2.7' },
  ...{ certSubject: subject, certIssuer: 'CN=Acme', certSerial: '1', ...more },
});

describe('refusals', () => {
  it.each([
    ['device', 'press-1', { subject: 'devices/press-1', data: { reason: 'revoked' } }],
    ['service', 'lake', { subject: 'services/lake', data: { reason: 'revoked' } }],
    ['claimed', 'press-1', { data: untrusted('O=Acme, CN=press-1') }],
    ['claimed', 'press-2', { data: untrusted('CN=x', { certSan: 'DNS:a, URI:spiffe://f/device/press-2' }) }],
    ['claimed', 'CN=<img src=x>', { data: untrusted('CN=<img src=x>') }],
    ['address', '192.0.2.9', { data: { reason: 'handshake_failed', ip: '192.0.2.9' } }],
  ] as const)('belong to a party of the kind %s: %s', async (kind, name, event) => {
    const { groups } = await controlOf({ type: 'presence.connect_failed', ...event }).list();
    expect(groups).toMatchObject([{ kind: 'connection', party: { kind, name } }]);
  });

  it('of one party for one reason are one group, with the newest addresses first, and others are apart', async () => {
    const type = 'presence.connect_failed';
    const { groups } = await controlOf(
      { type, data: untrusted('CN=press-1'), at: 1 },
      { type, data: { ...untrusted('CN=press-1'), ip: '192.0.2.8', leftOut: 3, certSerial: '2' }, at: 5 },
      { type, data: untrusted('CN=press-2'), at: 9 },
    ).list();
    expect(groups).toMatchObject([
      { party: { name: 'press-2' }, count: 1, isAtLeast: false },
      {
        party: { name: 'press-1' },
        ...{ count: 2, isAtLeast: true, firstAt: START + MINUTE, lastAt: START + 5 * MINUTE },
        addresses: ['192.0.2.8', '192.0.2.7'],
        certificate: { serial: '2' },
        sentence: 'the chain of the certificate ends at a root that is not of this fleet',
      },
    ]);
    expect(groups[1]?.remedy).toContain('rollcall token create --device press-1');
  });

  it('of topics name the newest topics, and the remedy names the device', async () => {
    const denied = (topic: string) => ({ verb: 'publish', topic, why: 'no_rule', clientId: 'press-1' });
    const topics = ['a', 'b', 'a', 'c', 'd', 'e', 'f'];
    const type = 'security.acl_denied';
    const { groups } = await controlOf(
      ...topics.map((topic) => ({ type, subject: 'devices/press-1', data: denied(topic) }) as const),
    ).list();
    expect(groups).toMatchObject([
      { kind: 'topic', code: 'publish_denied', count: 7, topics: ['f', 'e', 'd', 'c', 'a'], detail: 'no_rule' },
    ]);
    expect(groups[0]?.remedy).toMatch(/^rollcall policy explain press-1 publish TOPIC/);
  });

  it('are counted per bucket, those that the limits of events left out included', async () => {
    const refused = { refusal: 'token_rejected', detail: 'spent', actor: 'token/90d5711c78b56b63' };
    const { buckets, bucketMs } = await controlOf(
      { type: 'enroll.refused', data: refused, at: 10 },
      { type: 'enroll.refused', data: { ...refused, leftOut: 40 }, at: 10 },
      { type: 'cert.renewal_refused', data: { refusal: 'device_revoked' }, at: 59.9 },
    ).list();
    expect(bucketMs).toBe(30_000);
    expect(buckets).toHaveLength(120);
    expect(buckets.filter(({ enrollment, renewal }) => enrollment + renewal > 0)).toEqual([
      { at: START + 10 * MINUTE, connection: 0, enrollment: 42, renewal: 0, topic: 0 },
      { at: START + 59.5 * MINUTE, connection: 0, enrollment: 0, renewal: 1, topic: 0 },
    ]);
  });

  it('are selected by kind, code, address, and by a device that an untrusted certificate names', async () => {
    const { list } = controlOf(
      { type: 'presence.connect_failed', data: untrusted('CN=press-1') },
      { type: 'presence.connect_failed', subject: 'devices/press-1', data: { reason: 'revoked', ip: '192.0.2.8' } },
      { type: 'enroll.refused', subject: 'devices/press-2', data: { refusal: 'token_rejected', ip: '192.0.2.7' } },
    );
    const codes = async (query: Partial<RefusalQuery>) => (await list(query)).groups.map(({ code }) => code).sort();
    expect(await codes({ kind: 'enrollment' })).toEqual(['token_rejected']);
    expect(await codes({ code: 'revoked' })).toEqual(['revoked']);
    expect(await codes({ address: '192.0.2.7' })).toEqual(['certificate_untrusted', 'token_rejected']);
    expect(await codes({ device: 'press-1' as DeviceId })).toEqual(['certificate_untrusted', 'revoked']);
  });

  it('are listed up to a limit, and the rest is counted', async () => {
    const events = ['a', 'b', 'c'].map((name, at) => ({ data: untrusted(`CN=${name}`), at }));
    const { groups, moreGroups } = await controlOf(
      ...events.map((event) => ({ type: 'presence.connect_failed', ...event }) as const),
    ).list({ limit: 2 });
    expect([groups.map(({ party }) => party.name), moreGroups]).toEqual([['c', 'b'], 1]);
  });

  it('are read from the newest on where there are too many, and the list states since when it is complete', async () => {
    const many = Array.from({ length: 5_100 }, (_, n) => ({ data: untrusted('CN=a'), at: 7 + (n - 100) / 1_000 }));
    const { list, asked } = controlOf(...many.map((event) => ({ type: 'presence.connect_failed', ...event }) as const));
    const { readSince, groups } = await list();
    expect([readSince, groups[0]?.count]).toEqual([START + 7 * MINUTE, 5_000]);
    expect(asked.filter(({ type }) => type === 'presence.connect_failed')).toHaveLength(10);
  });
});
