/** The MQTT 5 properties of an application message that the broker passes on to receivers unchanged (MQTT 5, section 3.3.2.3). */

export type UserProperty = readonly [name: string, value: string];

export interface MessageProperties {
  /** 1: the payload is UTF-8. 0, or absent: unspecified bytes. */
  readonly payloadFormatIndicator?: 0 | 1;
  /** MIME type, or any other description that sender and receiver agree on. */
  readonly contentType?: string;
  readonly responseTopic?: string;
  readonly correlationData?: Uint8Array;
  /** In the order sent; a name may occur several times [MQTT-3.3.2-17, MQTT-3.3.2-18]. Never empty. */
  readonly userProperties?: readonly UserProperty[];
}
