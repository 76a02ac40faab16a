import { readFileSync } from 'node:fs';
import type { DeviceId, LifecycleEvent, LifecycleType } from '@rollcall/protocol';
import { describe, expect, it } from 'vitest';
import { positionOf } from '../../telemetry/position.ts';
import { CONNECTION, REQUESTS, TOKEN_REASONS, TOPICS, UNTRUSTED } from './refusal-advice.ts';
import { type RefusalQuery, refusalsOf } from './refusals.ts';

const DEVICE = 'press-1' as DeviceId;
const QUERY: RefusalQuery = {
  device: DEVICE,
  since: 0,
  serials: new Set(['3f8a']),
  tokens: new Set(['90d5711c78b56b63']),
  address: '192.0.2.7',
};

/** The journal with these refusals, each under `-`: the server did not know the device. */
function refusalsWith(
  ...stored: readonly (readonly [type: LifecycleType, data: LifecycleEvent['data'], at?: number])[]
) {
  return refusalsOf(QUERY, {
    newest: async ({ type, name = '-' }) =>
      stored
        .filter(([of]) => of === type && name === '-')
        .map(([, data, at = 1_000], index) => {
          const json = Buffer.from(JSON.stringify({ time: new Date(at).toISOString(), data }));
          return { position: positionOf(index), type, name, json };
        }),
  });
}

const connection = (data: LifecycleEvent['data'], at = 1_000) => ['presence.connect_failed', data, at] as const;

describe('a refusal that the server attributed to nobody', () => {
  it.each([
    ['certificate', { reason: 'certificate_expired', certSerial: '3f8a', certSubject: 'CN=press-1' }],
    ['name', { reason: 'certificate_untrusted', certSerial: '1', certSubject: 'O=Acme, CN=press-1' }],
    ['name', { reason: 'issuer_foreign', certSerial: '1', certSan: 'DNS:a, URI:spiffe://x/device/press-1' }],
    ['address', { reason: 'handshake_failed', ip: '192.0.2.7' }],
  ])('belongs to the device by its %s', async (attribution, data) => {
    expect(await refusalsWith(connection(data))).toMatchObject([{ attribution }]);
  });

  it('belongs to the device by a token that was created for it', async () => {
    const data = { actor: 'token/90d5711c78b56b63', refusal: 'token_rejected', detail: 'expired', ip: '192.0.2.9' };
    expect(await refusalsWith(['enroll.refused', data])).toMatchObject([
      { kind: 'enrollment', attribution: 'token', token: '90d5711c78b56b63', sentence: 'the token has expired' },
    ]);
  });

  it.each([
    { reason: 'certificate_untrusted', certSerial: '1', certSubject: 'CN=press-10' },
    { reason: 'certificate_untrusted', certSerial: '1', certSubject: 'O=CN=press-1' },
    { reason: 'certificate_untrusted', certSerial: '1', certSan: 'URI:spiffe://x/device/press-1/y' },
    { reason: 'certificate_untrusted', certSerial: '1', ip: '192.0.2.7' },
    { reason: 'handshake_failed', ip: '192.0.2.8' },
  ])('does not belong to the device with %o', async (data) => {
    expect(await refusalsWith(connection(data))).toEqual([]);
  });
});

describe('refusals of one kind', () => {
  it('are one entry with the first and the last time, and different ones are apart, the newest first', async () => {
    const one = { reason: 'certificate_expired', certSerial: '3f8a', ip: '192.0.2.7' };
    const other = { ...one, reason: 'superseded' };
    const found = await refusalsWith(
      connection(one, 1_000),
      connection({ ...one, ip: '192.0.2.8', leftOut: 7 }, 3_000),
      connection(other, 9_000),
    );
    expect(found).toMatchObject([
      { code: 'superseded', count: 1, isAtLeast: false },
      {
        code: 'certificate_expired',
        count: 2,
        isAtLeast: true,
        firstAt: 1_000,
        lastAt: 3_000,
        addresses: ['192.0.2.8', '192.0.2.7'],
      },
    ]);
  });
});

it('docs/diagnose.md has each refusal with its sentence and its remedy', () => {
  const page = readFileSync(new URL('../../docs/diagnose.md', import.meta.url), 'utf8');
  for (const advice of [CONNECTION, REQUESTS, TOKEN_REASONS, TOPICS]) {
    for (const [code, { sentence, remedy }] of Object.entries(advice)) {
      expect(page).toContain(`| \`${code}\` | ${sentence} | ${remedy} |`);
    }
  }
  for (const [code, sentence] of Object.entries(UNTRUSTED)) expect(page).toContain(`| \`${code}\` | ${sentence} |`);
});
