/** What an application on the agent's MQTT listener may publish, and what becomes of it. Knows no socket. */

import { isUtf8 } from 'node:buffer';
import { parseDeviceTopic, ReasonCode } from '@rollcall/protocol';
import { asDeviceError, type DeviceError } from '../device-error.ts';
import type { TelemetryOptions } from '../device-options.ts';
import type { PacketProperties, ReceivedPublish } from '../mqtt-codec/index.ts';
import type { AgentDevice } from './agent-device.ts';
import type { CommandQueue } from './command-queue.ts';

/** The outcome of one message, as PUBACK of MQTT 5 says it. */
export interface PublishOutcome {
  readonly reasonCode: number;
  /** A stable word and a sentence; undefined for a message that was taken. */
  readonly reason?: string;
}

export interface MessageTarget {
  readonly device: Pick<AgentDevice, 'id' | 'publish' | 'publishEvent'>;
  readonly commandQueue: CommandQueue;
}

const TAKEN: PublishOutcome = { reasonCode: ReasonCode.success };
const TOPIC_REFUSED: PublishOutcome = {
  reasonCode: ReasonCode.topicNameInvalid,
  reason: 'expected telemetry/STREAM, with or without /KEY, events/TYPE or responses/REQUEST',
};
const NOT_TEXT: PublishOutcome = { reasonCode: ReasonCode.payloadFormatInvalid, reason: 'the payload is not UTF-8' };
const NOBODY_ASKED: PublishOutcome = {
  reasonCode: ReasonCode.noMatchingSubscribers,
  reason: 'no command of this id waits for an answer',
};

/** Codes of errors, where MQTT 5 has one. */
const REASONS: Readonly<Record<string, number>> = {
  outbox_full: ReasonCode.quotaExceeded,
  device_revoked: ReasonCode.notAuthorized,
  certificate_rejected: ReasonCode.notAuthorized,
  request_invalid: ReasonCode.implementationSpecificError,
};

/** `topic`: with the device's prefix. Resolves when the message is on disk, or was refused; never rejects. */
export function publishForApplication(
  { payload, qos, properties }: ReceivedPublish,
  topic: string,
  { device, commandQueue }: MessageTarget,
): PublishOutcome | Promise<PublishOutcome> {
  const own = parseDeviceTopic(topic);
  if (properties?.payloadFormatIndicator === 1 && !isUtf8(payload)) return NOT_TEXT;
  const bytes = Buffer.from(payload); // a copy: it is part of the received chunk
  if (own?.kind === 'response') return commandQueue.answer(own.requestId, bytes) ? TAKEN : NOBODY_ASKED;
  const options = { qos: qos as 0 | 1, ...messageOptions(properties) };
  if (own?.kind === 'telemetry') {
    const { stream, key } = own;
    return outcomeOf(device.publish(stream, bytes, key === undefined ? options : { ...options, key }));
  }
  return own?.kind === 'event' ? outcomeOf(device.publishEvent(own.type, bytes, options)) : TOPIC_REFUSED;
}

async function outcomeOf(receipt: Promise<unknown>): Promise<PublishOutcome> {
  try {
    await receipt;
    return TAKEN;
  } catch (thrown) {
    const error: DeviceError = asDeviceError(thrown, 'internal');
    const reason = `${error.code}: ${error.message}`;
    return { reasonCode: REASONS[error.code] ?? ReasonCode.unspecifiedError, reason };
  }
}

function messageOptions(properties: PacketProperties | undefined): Omit<TelemetryOptions, 'qos' | 'key'> {
  const { contentType, userProperties, messageExpiryInterval, payloadFormatIndicator } = properties ?? {};
  return {
    ...(contentType !== undefined && { contentType }),
    ...(userProperties !== undefined && { userProperties }),
    ...(messageExpiryInterval !== undefined && { messageExpiry: messageExpiryInterval }),
    ...(payloadFormatIndicator !== undefined && { payloadFormatIndicator }),
  };
}
