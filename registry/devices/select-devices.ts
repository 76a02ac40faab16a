/** Selects the devices of an operation, and computes the confirmation code for that operation on those devices. Read only. */

import { createHash } from 'node:crypto';
import { type DeviceId, Problem } from '@rollcall/protocol';
import type { RegistryDatabase } from '../database.ts';
import type { SqlValue, Steps, Transaction } from '../transaction.ts';
import type {
  DeviceOperation,
  DeviceOperationKind,
  DeviceSelection,
  DeviceSelector,
} from './device-operation-types.ts';
import { findOperationProblem } from './device-status-changes.ts';
import { labelTerm } from './device-terms.ts';

/** Devices that the operation would change. Devices selected by id are not filtered. */
const SELECTED_STATUS: Readonly<Record<DeviceOperationKind, string>> = {
  revoke: `status <> 'revoked'`,
  suspend: `status IN ('active', 'quarantined')`,
  resume: `status IN ('suspended', 'quarantined')`,
  // Quarantining a suspended device would let it connect again; that takes its id.
  quarantine: `status = 'active'`,
  disconnect: `status <> 'revoked'`,
  delete: 'TRUE',
};

export async function selectDevices(
  database: RegistryDatabase,
  selector: DeviceSelector,
  operation: DeviceOperation,
): Promise<DeviceSelection> {
  const ids = await database.read((tx) => find(tx, selector, operation));
  return { ids, confirmation: confirmationOf(ids, operation) };
}

/** 80 bits of SHA-256 over the operation and the ids, in groups of five digits. */
function confirmationOf(ids: readonly DeviceId[], operation: DeviceOperation): string {
  const hash = createHash('sha256').update(
    JSON.stringify([operation.kind, operation.kind === 'revoke' ? operation.reason : '', ids]),
  );
  const hex = hash.digest('hex').slice(0, 20);
  return `${operation.kind}-${ids.length}-${hex.match(/.{5}/g)?.join('-')}`;
}

function* find(tx: Transaction, selector: DeviceSelector, operation: DeviceOperation): Steps<readonly DeviceId[]> {
  const { ids, group, labels, token, serial, issuedBefore } = selector;
  const conditions: string[] = [];
  const parameters: Record<string, SqlValue> = {};
  if (group !== undefined) {
    conditions.push('group_name = @group');
    parameters.group = group;
  }
  for (const [index, [name, value]] of Object.entries(labels ?? {}).entries()) {
    conditions.push(
      `id IN (SELECT device_id FROM device_terms WHERE term = @term${index})`,
      `labels ->> @name${index} = @value${index}`,
    );
    parameters[`term${index}`] = labelTerm(name, value);
    parameters[`name${index}`] = name;
    parameters[`value${index}`] = value;
  }
  if (token !== undefined) {
    conditions.push('id IN (SELECT device_id FROM certificates WHERE token_id = @token AND revoked_at IS NULL)');
    parameters.token = token;
  }
  if (serial !== undefined) {
    conditions.push('id = (SELECT device_id FROM certificates WHERE serial = @serial)');
    parameters.serial = serial;
  }
  if (issuedBefore !== undefined) {
    conditions.push(
      '(SELECT max(issued_at) FROM certificates WHERE device_id = id AND revoked_at IS NULL) < @issuedBefore',
    );
    parameters.issuedBefore = issuedBefore;
  }
  if (ids !== undefined) {
    const problem = yield* findOperationProblem(tx, ids, operation);
    if (problem !== undefined) throw problem;
    return yield* filterById(tx, ids, conditions, parameters);
  }
  if (conditions.length === 0) {
    throw new Problem('request_invalid', { detail: 'expected ids, or something that devices have in common' });
  }
  const sql = `SELECT id FROM devices WHERE deleted_at IS NULL AND ${SELECTED_STATUS[operation.kind]} AND ${conditions.join(' AND ')} ORDER BY id`;
  return (yield* tx.all<{ id: DeviceId }>(sql, parameters)).map(({ id }) => id);
}

/** In the order in which SQLite compares ids: by bytes; ids are ASCII. */
function* filterById(
  tx: Transaction,
  ids: readonly DeviceId[],
  conditions: readonly string[],
  parameters: Readonly<Record<string, SqlValue>>,
): Steps<readonly DeviceId[]> {
  const sorted = [...new Set(ids)].sort((a, b) => (a < b ? -1 : 1));
  if (conditions.length === 0) return sorted;
  const sql = `SELECT 1 FROM devices WHERE id = @id AND deleted_at IS NULL AND ${conditions.join(' AND ')}`;
  const found: DeviceId[] = [];
  for (const id of sorted) if ((yield* tx.get(sql, { ...parameters, id })) !== undefined) found.push(id);
  return found;
}
