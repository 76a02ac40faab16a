/** What a broker announces in CONNACK (MQTT 5, section 3.2.2.3). MQTT 3.1.1 has none of it. */

import type { Connack } from './mqtt-codec/index.ts';

export interface ServerLimits {
  /** Messages of QoS 1 that the broker accepts without acknowledgement. */
  readonly receiveMaximum: number;
  /** Bytes of the largest packet that the broker accepts. */
  readonly maximumPacketSize: number;
  /** Seconds, in place of the device's own; undefined: the device's own. */
  readonly keepAlive: number | undefined;
  readonly acceptsQos1: boolean;
  readonly acceptsRetain: boolean;
}

export function serverLimits({ properties = {} }: Pick<Connack, 'properties'>): ServerLimits {
  const { receiveMaximum, maximumPacketSize, serverKeepAlive, maximumQos, retainAvailable } = properties;
  return {
    receiveMaximum: receiveMaximum ?? 0xffff,
    maximumPacketSize: maximumPacketSize ?? Number.POSITIVE_INFINITY,
    keepAlive: serverKeepAlive === 0 ? undefined : serverKeepAlive,
    acceptsQos1: maximumQos !== 0,
    acceptsRetain: retainAvailable !== 0,
  };
}
