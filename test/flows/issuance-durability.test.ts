/** Every certificate is recorded before it is returned: a killed server knows each received certificate after its restart. */

import { X509Certificate } from 'node:crypto';
import { enrollOnce, memoryIdentityStore, type StoredIdentity } from '@rollcall/device-sdk';
import { describe, expect, it } from 'vitest';
import { openConsoleClient } from '../../console/client.ts';
import { connectMqtt } from '../fixtures/mqtt.ts';
import { serve } from '../fixtures/program.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const NO_LIMITS = Object.fromEntries(
  [
    'ENROLL_LIMITS_ENROLLMENTS_PER_SECOND',
    'ENROLL_LIMITS_ENROLLMENTS_PER_SECOND_PER_ADDRESS',
    'ENROLL_LIMITS_CONNECTIONS_PER_SECOND',
    'ENROLL_LIMITS_CONNECTIONS_PER_SECOND_PER_ADDRESS',
  ].map((name) => [`ROLLCALL_${name}`, '0']),
);
const CONCURRENT_LOOPS = 6;
const ENROLLED_WHEN_KILLED = 20;
const USES = 1_000;

describe('a server that is killed while it enrolls', () => {
  it('knows every certificate that a device received after its restart, and counted no token use twice', async () => {
    const data = temporaryDirectory();
    const first = await serve(data, [], { environment: NO_LIMITS });
    let operator = openConsoleClient({ socketPath: first.ready.socket });
    const { text: token } = await operator.createToken({ uses: USES });

    const received: StoredIdentity[] = [];
    let killed: Promise<unknown> | undefined;
    const enrollUntilKilled = async () => {
      for (let tries = 0; killed === undefined && tries < USES; tries += 1) {
        const identity = await enrollOnce(memoryIdentityStore(), { token }).catch(() => undefined);
        if (identity !== undefined) received.push(identity);
        if (received.length >= ENROLLED_WHEN_KILLED) killed ??= first.end('SIGKILL');
      }
    };
    await Promise.all(Array.from({ length: CONCURRENT_LOOPS }, enrollUntilKilled));
    await killed;
    await operator.close();

    const second = await serve(data);
    operator = openConsoleClient({ socketPath: second.ready.socket });
    const devices = await operator.listDevices({ limit: USES });
    const [tokenAfter] = await operator.listTokens();
    expect(received.length).toBeGreaterThanOrEqual(ENROLLED_WHEN_KILLED);
    expect(tokenAfter?.uses).toBe(devices.length);
    for (const identity of received) {
      const { certificates } = await operator.showDevice({ id: identity.deviceId });
      const serial = new X509Certificate(identity.certificatePem).serialNumber.toLowerCase();
      expect(certificates.map((certificate) => certificate.serial)).toContain(serial);
    }
    const last = received.at(-1) as StoredIdentity;
    await connectMqtt({ ...last, mqttUrl: second.ready.mqttUrl });
    await operator.close();
    await second.end('SIGTERM');
  });
});
