/** Devices: found, listed with their certificates, changed, and the operations on them. */

import type { DeviceId, GroupName, Identity } from '@rollcall/protocol';
import { certificatesIssuedFrom, certificatesOf, findCertificate } from '../certificates/certificates.ts';
import type { RegistryDatabase } from '../database.ts';
import type { Actor, CertificateRecord, ChangeCheck, DeviceRecord, DeviceStatus } from '../registry.ts';
import {
  applyDeviceOperation,
  lastDeviceChange,
  notifyListeners,
  type OperationListeners,
  publishOperation,
} from './apply-device-operations.ts';
import type { DeviceChange, DeviceOperations } from './device-operation-types.ts';
import type { DeviceCriteria, DeviceFilter } from './device-query.ts';
import { type DeviceSettings, setDevice } from './device-settings.ts';
import { countDevices, countGroups, findDevice } from './devices.ts';
import { countMatchingDevices, findDevices } from './find-devices.ts';
import { selectDevices } from './select-devices.ts';

export interface DeviceStore {
  findDevice(id: DeviceId): Promise<DeviceRecord | undefined>;
  /** A page. Problem `request_invalid` for a limit outside 1 to 10,000, and for a cursor of another order. */
  listDevices(filter: DeviceFilter): Promise<readonly DeviceRecord[]>;
  /** How many devices each status has, deleted ones left out; a status is counted up to `most`. */
  countDevices(most: number): Promise<Readonly<Record<DeviceStatus, number>>>;
  /** Groups that have devices which are not revoked, in the order of their names, the first 10,000. */
  countGroups(): Promise<readonly { readonly group: GroupName; readonly devices: number }[]>;
  /** How many match, counted up to `most`. */
  countMatchingDevices(criteria: DeviceCriteria, most: number): Promise<number>;
  /** Oldest first: all of them, or the newest so many. */
  listCertificates(holder: Identity, newest?: number): Promise<readonly CertificateRecord[]>;
  /** Of a device, a service or a listener of the server. */
  findCertificate(serial: string): Promise<CertificateRecord | undefined>;
  /** Every certificate that goes back to this token, directly or by renewal, oldest first; also revoked or expired ones. */
  listIssuedFrom(tokenId: string): Promise<readonly CertificateRecord[]>;
  /** Changes group or labels; a null removes a label. Resolves when live sessions have their new rights. */
  setDevice(
    id: DeviceId,
    change: DeviceSettings,
    actor: Actor,
    check?: ChangeCheck<DeviceRecord>,
  ): Promise<DeviceRecord>;
}

export function createDeviceStore(
  database: RegistryDatabase,
  listeners: OperationListeners,
): DeviceStore & DeviceOperations {
  return {
    findDevice: async (id) => database.read((tx) => findDevice(tx, id)),
    listDevices: (filter) => findDevices(database, filter),
    countDevices: async (most) => database.read((tx) => countDevices(tx, most)),
    countGroups: async () => database.read(countGroups),
    countMatchingDevices: (criteria, most) => countMatchingDevices(database, criteria, most),
    listCertificates: async (holder, newest) => database.read((tx) => certificatesOf(tx, holder, newest)),
    findCertificate: async (serial) => database.read((tx) => findCertificate(tx, serial)),
    listIssuedFrom: async (tokenId) => database.read((tx) => certificatesIssuedFrom(tx, tokenId)),
    setDevice: async (id, settings, actor, check) => {
      const { device, committed } = await database.write(function* (tx) {
        const set = yield* setDevice(tx, id, settings, actor, check);
        if (!set.isChanged) return { device: set.device, committed: undefined };
        const change: DeviceChange = { device: id, operation: 'set', status: set.device.status, at: tx.now };
        const operation = { change, revocation: undefined };
        publishOperation(tx, listeners, operation);
        return { device: set.device, committed: operation };
      });
      if (committed !== undefined) await notifyListeners(listeners, committed, performance.now());
      return device;
    },
    selectDevices: async (selector, operation) => selectDevices(database, selector, operation),
    applyDeviceOperation: async (ids, operation, actor) =>
      applyDeviceOperation(database, listeners, ids, operation, actor),
    lastDeviceChange: async (id) => lastDeviceChange(database, id),
    revokeDevices: async (ids, reason, actor) => {
      const results = await applyDeviceOperation(database, listeners, ids, { kind: 'revoke', reason }, actor);
      return results.map(({ device, serials, reason: recorded = reason, at }) => ({
        holder: { kind: 'device', id: device },
        serials,
        reason: recorded,
        revokedAt: at,
      }));
    },
    onDeviceChange: (listener) => listeners.changes.add(listener),
  };
}
