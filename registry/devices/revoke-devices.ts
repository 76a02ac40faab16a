/** Revokes several devices with their certificates and open tokens, in the transaction of its caller: a statement serves all of them. */

import type { DeviceId, Identity } from '@rollcall/protocol';
import { recordDone } from '../audit/audit.ts';
import { recordedRevocation, recordRevocation } from '../certificates/revoke-holder.ts';
import type { Actor, DeviceRecord, Revocation, RevocationReason } from '../registry.ts';
import type { Steps, Transaction } from '../transaction.ts';

export interface RevokeDevicesRequest {
  readonly reason: RevocationReason;
  readonly actor: Actor;
  /** Records what else is done to each device, after the entries of its revocation. */
  readonly record?: (device: DeviceRecord) => void;
}

/** For one that was revoked before, the revocation of then. */
export function* revokeDevices(
  tx: Transaction,
  devices: readonly DeviceRecord[],
  { reason, actor, record }: RevokeDevicesRequest,
): Steps<readonly Revocation[]> {
  const ids = JSON.stringify(devices.filter(({ revokedAt }) => revokedAt === undefined).map(({ id }) => id));
  const tokens = grouped(
    yield* tx.all<{ id: string; device: DeviceId }>(
      `SELECT tokens.id, device_id AS device FROM json_each(@ids) AS wanted CROSS JOIN tokens ON device_id = wanted.value
       WHERE device_id IS NOT NULL AND uses < max_uses AND voided_at IS NULL ORDER BY tokens.id`,
      { ids },
    ),
  );
  const serials = grouped(
    yield* tx.all<{ id: string; device: DeviceId }>(
      `SELECT serial AS id, device_id AS device FROM json_each(@ids) AS wanted CROSS JOIN certificates
         ON device_id = wanted.value
       WHERE device_id IS NOT NULL AND revoked_at IS NULL ORDER BY issued_at, certificates.rowid`,
      { ids },
    ),
  );
  yield* tx.run('UPDATE tokens SET voided_at = @now WHERE id IN (SELECT wanted.value FROM json_each(@ids) AS wanted)', {
    ids: JSON.stringify([...tokens.values()].flat()),
    now: tx.now,
  });
  yield* tx.run(
    `UPDATE certificates SET revoked_at = @now, revocation_reason = @reason
     WHERE serial IN (SELECT wanted.value FROM json_each(@serials) AS wanted)`,
    { serials: JSON.stringify([...serials.values()].flat()), now: tx.now, reason },
  );
  // None of them has a certificate any more that could end.
  yield* tx.run(
    `UPDATE devices SET revoked_at = @now, revocation_reason = @reason, certificate_ends_at = NULL
     WHERE id IN (SELECT wanted.value FROM json_each(@ids) AS wanted)`,
    { ids, now: tx.now, reason },
  );
  const revocations: Revocation[] = [];
  for (const device of devices) {
    const { id } = device;
    const holder: Identity = { kind: 'device', id };
    if (device.revokedAt === undefined) {
      for (const token of tokens.get(id) ?? []) {
        recordDone(tx, { actor, action: 'token.voided', subject: `token/${token}`, details: { device: id } });
      }
      const request = { reason, actor };
      revocations.push(recordRevocation(tx, holder, 'device.revoked', { ...request, serials: serials.get(id) ?? [] }));
    } else revocations.push(yield* recordedRevocation(tx, holder, device));
    record?.(device);
  }
  return revocations;
}

function grouped(rows: readonly { readonly id: string; readonly device: DeviceId }[]): Map<DeviceId, string[]> {
  const ids = new Map<DeviceId, string[]>();
  for (const { id, device } of rows) {
    const own = ids.get(device);
    if (own === undefined) ids.set(device, [id]);
    else own.push(id);
  }
  return ids;
}
