/** How a message stands in NATS: the subject of its device, what is known about it as headers, and the id of the two. */

import { headers, type MsgHdrs } from '@nats-io/transport-node';
import { isMediaType } from '@rollcall/protocol';
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

/**
 * Texts of the device are percent-encoded: a header of NATS holds no line feed, loses white space at its ends, and readers differ on text
 * outside ASCII. A content type that is a media type needs none of it. User properties share one name, so that their order stays.
 */
export function headersOf(message: SinkMessage): MsgHdrs {
  const { position, receivedAt, contentType, payloadFormatIndicator, userProperties, deviceTime, deviceSequence } =
    message;
  const about = headers();
  about.set('Rollcall-Position', String(position));
  about.set('Rollcall-Received-At', new Date(receivedAt).toISOString());
  if (contentType !== undefined) {
    if (isMediaType(contentType)) about.set('Content-Type', contentType);
    else about.set('Rollcall-Content-Type', percentEncoded(contentType));
  }
  if (payloadFormatIndicator !== undefined) about.set('Rollcall-Payload-Format', String(payloadFormatIndicator));
  for (const [name, value] of userProperties ?? []) {
    about.append('Rollcall-User-Property', `${percentEncoded(name)}=${percentEncoded(value)}`);
  }
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

/** `encodeURIComponent()` throws for half a character; the decoder lets none in. */
function percentEncoded(text: string): string {
  return encodeURIComponent(text.toWellFormed());
}

/** A dot separates the tokens of a subject; a name may hold some, but never a percent sign. */
function token(name: string): string {
  return name.replaceAll('.', '%2E');
}
