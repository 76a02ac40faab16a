/** How a message stands in NATS: the subject of its device, what is known about it as headers, and the id of the two. */

import { headers, type MsgHdrs } from '@nats-io/transport-node';
import type { SinkMessage, SinkSource } from './target.ts';

export interface NatsWriting {
  readonly source: SinkSource;
  /** First part of every subject. */
  readonly subject: string;
}

/** `rollcall.telemetry.<device>.<stream>`, `rollcall.events.<area>.<what>.<name>`. */
export function subjectOf({ device, stream }: SinkMessage, { subject, source }: NatsWriting): string {
  if (source === 'events') return `${subject}.events.${stream}.${token(device)}`;
  return `${subject}.telemetry.${token(device)}.${token(stream)}`;
}

/** No other message has it, not in a later journal of the same fleet either. */
export function idOf({ receivedAt, position }: SinkMessage, { source }: NatsWriting): string {
  return `${source}-${receivedAt}-${position}`;
}

export function headersOf(message: SinkMessage): MsgHdrs {
  const { position, receivedAt, contentType, deviceTime, deviceSequence } = message;
  const about = headers();
  about.set('Rollcall-Position', String(position));
  about.set('Rollcall-Received-At', new Date(receivedAt).toISOString());
  if (contentType !== undefined) about.set('Content-Type', contentType);
  if (deviceTime !== undefined) about.set('Rollcall-Device-Time', new Date(deviceTime).toISOString());
  if (deviceSequence !== undefined) about.set('Rollcall-Device-Sequence', String(deviceSequence));
  return about;
}

/** More than what the id and the protocol add to the headers above. */
const ADDED_BYTES = 256;

/** At most so many bytes as the server counts them, headers included; their own length is known only when they are written. */
export function bytesOf(message: SinkMessage, about = headersOf(message)): number {
  return message.payload.byteLength + about.toString().length + ADDED_BYTES;
}

/** A dot separates the tokens of a subject; a name may hold some, but never a percent sign. */
function token(name: string): string {
  return name.replaceAll('.', '%2E');
}
