/** Whom an order would concern, and a word that stands for exactly that order on exactly those devices. Changes nothing. */

import { createHash } from 'node:crypto';
import { type DeviceId, Problem } from '@rollcall/protocol';
import type { RegistryDatabase } from './database.ts';
import type {
  DeviceOperation,
  DeviceOperationKind,
  DeviceSelection,
  DeviceSelector,
} from './device-operation-types.ts';
import { findOperationProblem } from './device-status-changes.ts';
import { STATUS_IS } from './devices.ts';
import type { SqlValue, Transaction } from './transaction.ts';

/** An order changes nothing about the others; who is named by id is named. */
const SELECTED_STATUS: Readonly<Record<DeviceOperationKind, string>> = {
  revoke: `NOT (${STATUS_IS.revoked})`,
  suspend: `(${STATUS_IS.active} OR ${STATUS_IS.quarantined})`,
  resume: `(${STATUS_IS.suspended} OR ${STATUS_IS.quarantined})`,
  // Of who is suspended it would be a way in: that is for each by name.
  quarantine: STATUS_IS.active,
  disconnect: `NOT (${STATUS_IS.revoked})`,
  delete: 'TRUE',
};

export function selectDevices(
  database: RegistryDatabase,
  selector: DeviceSelector,
  order: DeviceOperation,
): DeviceSelection {
  const ids = database.read((tx) => find(tx, selector, order));
  return { ids, confirmation: confirmationOf(ids, order) };
}

/** 80 bits of SHA-256 over the order and the ids, in groups that can be read out. */
function confirmationOf(ids: readonly DeviceId[], order: DeviceOperation): string {
  const hash = createHash('sha256').update(
    JSON.stringify([order.act, order.act === 'revoke' ? order.reason : '', ids]),
  );
  const hex = hash.digest('hex').slice(0, 20);
  return `${order.act}-${ids.length}-${hex.match(/.{5}/g)?.join('-')}`;
}

function find(tx: Transaction, selector: DeviceSelector, order: DeviceOperation): readonly DeviceId[] {
  const { ids, group, labels, token, serial, issuedBefore } = selector;
  const conditions: string[] = [];
  const parameters: Record<string, SqlValue> = {};
  if (group !== undefined) {
    conditions.push('group_name = @group');
    parameters.group = group;
  }
  for (const [index, [name, value]] of Object.entries(labels ?? {}).entries()) {
    conditions.push(`json_extract(labels, @name${index}) = @value${index}`);
    parameters[`name${index}`] = `$.${JSON.stringify(name)}`;
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
    const problem = findOperationProblem(tx, ids, order);
    if (problem !== undefined) throw problem;
    return named(tx, ids, conditions, parameters);
  }
  if (conditions.length === 0) {
    throw new Problem('request_invalid', { detail: 'expected ids, or something that devices have in common' });
  }
  const sql = `SELECT id FROM devices WHERE deleted_at IS NULL AND ${SELECTED_STATUS[order.act]} AND ${conditions.join(' AND ')} ORDER BY id`;
  return tx.all<{ id: DeviceId }>(sql, parameters).map(({ id }) => id);
}

/** In the order in which ids compare in SQLite: by bytes, and ids are ASCII. */
function named(
  tx: Transaction,
  ids: readonly DeviceId[],
  conditions: readonly string[],
  parameters: Readonly<Record<string, SqlValue>>,
): readonly DeviceId[] {
  const sorted = [...new Set(ids)].sort((a, b) => (a < b ? -1 : 1));
  if (conditions.length === 0) return sorted;
  const sql = `SELECT 1 FROM devices WHERE id = @id AND deleted_at IS NULL AND ${conditions.join(' AND ')}`;
  return sorted.filter((id) => tx.get(sql, { ...parameters, id }) !== undefined);
}
