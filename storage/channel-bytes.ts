/**
 * Bytes in values that cross between threads. Structured clone copies the whole memory that a view lies in, which for a small `Buffer`
 * is a pool of many; and it gives back Uint8Arrays. Only plain objects and arrays are looked into.
 */

/** The value, with views of larger memory replaced by copies of their own bytes. Changes nothing in the value. */
export function bytesToSend(value: unknown, transfer: readonly unknown[]): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (ArrayBuffer.isView(value)) {
    if (value.byteLength === value.buffer.byteLength || !(value instanceof Uint8Array)) return value;
    return transfer.includes(value.buffer) ? value : new Uint8Array(value);
  }
  if (Array.isArray(value)) return elementsToSend(value, transfer);
  return isPlain(value) ? propertiesToSend(value as Record<string, unknown>, transfer) : value;
}

function elementsToSend(array: readonly unknown[], transfer: readonly unknown[]): readonly unknown[] {
  let copy: unknown[] | undefined;
  for (let at = 0; at < array.length; at += 1) {
    const element = array[at];
    if (typeof element !== 'object' || element === null) continue;
    const sent = bytesToSend(element, transfer);
    if (sent === element) continue;
    copy ??= array.slice();
    copy[at] = sent;
  }
  return copy ?? array;
}

function propertiesToSend(object: Record<string, unknown>, transfer: readonly unknown[]): Record<string, unknown> {
  let copy: Record<string, unknown> | undefined;
  for (const name in object) {
    const property = object[name];
    if (typeof property !== 'object' || property === null) continue;
    const sent = bytesToSend(property, transfer);
    if (sent === property) continue;
    copy ??= { ...object };
    copy[name] = sent;
  }
  return copy ?? object;
}

/** The value, with each Uint8Array in it replaced by a `Buffer` of the same memory. */
export function receivedBytes(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  if (Array.isArray(value)) {
    for (let at = 0; at < value.length; at += 1) {
      const element: unknown = value[at];
      if (typeof element === 'object' && element !== null) value[at] = receivedBytes(element);
    }
  } else if (isPlain(value)) {
    const object = value as Record<string, unknown>;
    for (const name in object) {
      const property = object[name];
      if (typeof property === 'object' && property !== null) object[name] = receivedBytes(property);
    }
  }
  return value;
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
