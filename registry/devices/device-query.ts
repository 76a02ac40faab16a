/** What devices are asked for: filters, order, and the position at which a page begins. */

import { type GroupName, Problem } from '@rollcall/protocol';
import type { DeviceRecord, DeviceStatus, Labels } from '../registry.ts';
import { type AddressRange, addressKey } from './address-range.ts';

/** A device matches when it matches every given criterion. Times are milliseconds since the epoch. */
export interface DeviceCriteria {
  readonly group?: GroupName | undefined;
  readonly status?: DeviceStatus | undefined;
  /** All of them. */
  readonly labels?: Labels | undefined;
  readonly isOnline?: boolean | undefined;
  /** Devices that are offline, and whose last session ended before. Not those that never connected. */
  readonly lastSeenBefore?: number | undefined;
  /** Devices that are online, or were since then. */
  readonly lastSeenAfter?: number | undefined;
  /** Address of the newest session. */
  readonly address?: AddressRange | undefined;
  /** Id of the bootstrap token with which they enrolled last. */
  readonly token?: string | undefined;
  readonly sdkVersion?: string | undefined;
  /** Whose newest unrevoked certificate ends before, or has ended. */
  readonly certificateEndsBefore?: number | undefined;
  /** The begin of an id, of a label's value, or of a word in one of them; in any case. */
  readonly text?: string | undefined;
}

/** In `last-seen`, devices that are online are the latest. Devices without a value come last in both directions. */
export const DEVICE_SORTS = [
  'id',
  'group',
  'status',
  'enrolled',
  'token',
  'last-seen',
  'address',
  'sdk-version',
  'expires',
] as const;
export type DeviceSort = (typeof DEVICE_SORTS)[number];

/** Sorted by a time; the others by a text. */
export const NUMBER_SORTS: ReadonlySet<DeviceSort> = new Set(['enrolled', 'last-seen', 'expires']);

export interface DeviceFilter extends DeviceCriteria {
  /** By id unless given. Devices with equal values are in the order of their ids. */
  readonly sort?: DeviceSort | undefined;
  readonly isReversed?: boolean | undefined;
  /** In id order: the page after this id. */
  readonly after?: string | undefined;
  /** The page after the device of which `deviceCursor()` returned this. */
  readonly cursor?: string | undefined;
  /** 1 to 10,000. */
  readonly limit: number;
}

/** Part of an order: devices with a value, those that are online, or those without a value. */
export type OrderPart = 'value' | 'online' | 'none';

export interface Position {
  readonly part: OrderPart;
  /** The value that is sorted by; the id outside of the part `value`. */
  readonly key: string | number;
  readonly id: string;
}

export function positionOf(device: DeviceRecord, sort: DeviceSort): Position {
  const { id, presence } = device;
  if (sort === 'last-seen' && presence?.isOnline === true) return { part: 'online', key: id, id };
  const key = keyOf(device, sort);
  return key === undefined ? { part: 'none', key: id, id } : { part: 'value', key, id };
}

function keyOf(device: DeviceRecord, sort: DeviceSort): string | number | undefined {
  switch (sort) {
    case 'id':
      return device.id;
    case 'group':
      return device.group;
    case 'status':
      return device.status;
    case 'enrolled':
      return device.enrolledAt;
    case 'token':
      return device.enrolledBy;
    case 'last-seen':
      return device.presence?.lastSeenAt;
    case 'address':
      return device.presence && addressKey(device.presence.address);
    case 'sdk-version':
      return device.presence?.sdkVersion;
    case 'expires':
      return device.certificateEndsAt;
  }
}

/** Opaque text for the page after this device in this order. */
export function deviceCursor(device: DeviceRecord, sort: DeviceSort = 'id', isReversed = false): string {
  const { part, key, id } = positionOf(device, sort);
  return Buffer.from(JSON.stringify([sort, isReversed, part, key, id])).toString('base64url');
}

const PARTS: ReadonlySet<unknown> = new Set<OrderPart>(['value', 'online', 'none']);
const MAX_CURSOR = 512;

/** Throws Problem `request_invalid` for a cursor of another order. */
export function readCursor(cursor: string, sort: DeviceSort, isReversed: boolean): Position {
  const fields = cursor.length > MAX_CURSOR ? undefined : parseList(Buffer.from(cursor, 'base64url').toString('utf8'));
  const [of, reversed, part, key, id] = fields ?? [];
  const isKey = part === 'value' && NUMBER_SORTS.has(sort) ? Number.isSafeInteger(key) : typeof key === 'string';
  if (of !== sort || reversed !== isReversed || !PARTS.has(part) || !isKey || typeof id !== 'string') {
    throw new Problem('request_invalid', { detail: 'expected the cursor of a page in the same order' });
  }
  return { part: part as OrderPart, key: key as string | number, id };
}

function parseList(text: string): readonly unknown[] | undefined {
  try {
    const parsed: unknown = JSON.parse(text);
    return Array.isArray(parsed) ? parsed : undefined;
  } catch {
    return undefined;
  }
}
