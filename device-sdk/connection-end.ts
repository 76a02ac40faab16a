/** Why a connection ended, from what the broker said, or else from what the socket did. Pure. */

import { ReasonCode } from '@rollcall/protocol';
import { DeviceError } from './device-error.ts';
import type { MqttVersion } from './mqtt-codec/index.ts';
import { hostPortOf, isNetworkError, networkReason } from './network-error.ts';
import { nextAttemptAfter, type ServerReason } from './server-reason.ts';
import { isDateError } from './server-verification.ts';

/**
 * `refused`: TLS, certificate or identity were not accepted by one of both sides. `invalid dates`: the broker's certificate is
 * not valid now, by the system's clock. `version`: the broker does not speak this version of MQTT. `lost`: everything else.
 */
export interface ConnectionEnd {
  readonly kind: 'lost' | 'refused' | 'invalid dates' | 'version';
  readonly error: DeviceError;
  /** Whether the next attempt should wait as long as after a refusal. */
  readonly waitsLong: boolean;
  /** CONNECT was sent and CONNACK never came. */
  readonly isUnanswered: boolean;
}

export interface LastWords {
  readonly version: MqttVersion;
  /** CONNECT was sent. */
  readonly hasAsked: boolean;
  /** Reason code, or return code of MQTT 3.1.1, in CONNACK; undefined if none came. */
  readonly connack: ServerReason | undefined;
  /** The server's DISCONNECT, which MQTT 3.1.1 does not have. */
  readonly disconnect: ServerReason | undefined;
  readonly failure: Error | undefined;
  readonly mqttUrl: string;
}

const DEFAULT_MQTT_PORT = 8883;

/** Return codes of CONNACK that speak about this device, not about the moment (MQTT 3.1.1, section 3.2.2.3). */
const REFUSALS: ReadonlySet<number> = new Set([1, 2, 4, 5]);
/** Unacceptable protocol version: of MQTT 3.1.1, which a server of that version sends, and of MQTT 5. */
const VERSION_REFUSALS: ReadonlySet<number> = new Set([0x01, 0x84]);

export function connectionEnd(words: LastWords): ConnectionEnd {
  const { version, connack, disconnect } = words;
  if (disconnect !== undefined) return toldEnd(disconnect, `DISCONNECT ${disconnect.text}`);
  if (connack === undefined || connack.code === 0) return untoldEnd(words);
  if (version === 5 && VERSION_REFUSALS.has(connack.code)) {
    const error = new DeviceError('connection_refused', {
      reason: 'the broker does not know MQTT 5',
      reasonCode: ReasonCode.unsupportedProtocolVersion,
    });
    return { kind: 'version', error, waitsLong: true, isUnanswered: false };
  }
  if (version === 5) return toldEnd(connack, `CONNACK ${connack.text}`);
  const kind = REFUSALS.has(connack.code) ? 'refused' : 'lost';
  const name = kind === 'refused' ? 'connection_refused' : 'unavailable';
  const error = new DeviceError(name, { reason: `CONNACK ${connack.code}` });
  return { kind, error, waitsLong: kind === 'refused', isUnanswered: false };
}

function toldEnd(reason: ServerReason, text: string): ConnectionEnd {
  const next = nextAttemptAfter(reason);
  const error = new DeviceError(next === 'refused' ? 'connection_refused' : 'connection_lost', {
    reason: text,
    serverReason: reason.word,
    reasonCode: reason.code,
  });
  return { kind: next === 'refused' ? 'refused' : 'lost', error, waitsLong: next !== 'soon', isUnanswered: false };
}

/** Names the server where no connection came about. */
function lostReason(error: NodeJS.ErrnoException | undefined, mqttUrl: string): string {
  if (error === undefined) return 'closed by the broker';
  if (error.syscall !== 'connect' && error.syscall !== 'getaddrinfo') return networkReason(error);
  return `${hostPortOf(mqttUrl, DEFAULT_MQTT_PORT)}: ${networkReason(error, mqttUrl)}`;
}

/** With MQTT 3.1.1, and whenever the server said nothing: TLS alerts and errors of the socket have to do. */
function untoldEnd({ hasAsked, connack, failure, mqttUrl }: LastWords): ConnectionEnd {
  const error = failure as NodeJS.ErrnoException | undefined;
  const refused = (kind: 'refused' | 'invalid dates', why: DeviceError): ConnectionEnd => ({
    ...{ kind, error: why, waitsLong: true, isUnanswered: false },
  });
  if (error instanceof DeviceError) return refused('refused', error);
  if (error?.code === undefined || error instanceof RangeError || isNetworkError(error)) {
    const reason = lostReason(error, mqttUrl);
    const why = new DeviceError('connection_lost', { reason, cause: error });
    return { kind: 'lost', error: why, waitsLong: false, isUnanswered: hasAsked && connack === undefined };
  }
  // In TLS 1.3 the broker judges our certificate after our side of the handshake is done, so its alert comes late.
  const isTheirs = hasAsked || /_ALERT_/.test(error.code);
  const name = isTheirs ? 'connection_refused' : 'server_untrusted';
  const kind = !isTheirs && isDateError(error) ? 'invalid dates' : 'refused';
  return refused(kind, new DeviceError(name, { reason: error.code, cause: error }));
}
