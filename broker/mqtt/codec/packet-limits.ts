/** What one packet may contain at most. Sizes are bytes. */

import type { TextLimits } from './mqtt-text.ts';

export interface PacketLimits extends TextLimits {
  /** The largest packet by its declared length, header included. */
  readonly packet: number;
  /** The same for CONNECT. */
  readonly connectPacket: number;
  /** Filters in one SUBSCRIBE or UNSUBSCRIBE. */
  readonly filtersPerPacket: number;
  /** The largest topic alias that a client may use: the Topic Alias Maximum of CONNACK. */
  readonly topicAliasMaximum: number;
  /** The properties of one packet by their declared length; those of a will count by themselves. */
  readonly propertyBytes: number;
  /** User properties in one packet. */
  readonly userProperties: number;
}

/** The limits of properties, which no setting changes. */
export const PROPERTY_LIMITS = { topicAliasMaximum: 16, propertyBytes: 8 * 1024, userProperties: 32 } as const;
