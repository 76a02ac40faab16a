/** MQTT 3.1.1 and 5 as bytes: the codec of the SDK, of the agent's listener and of the simulator's light devices. */

export {
  encodeConnack,
  encodeConnect,
  encodeDisconnect,
  encodePuback,
  encodePublish,
  encodeSuback,
  encodeSubscribe,
  encodeUnsuback,
  encodeUnsubscribe,
  PINGREQ,
  PINGRESP,
} from './encoder.ts';
export { PacketReader, type PacketReaderOptions } from './packet-reader.ts';
export {
  type Connack,
  type Connect,
  MalformedPacket,
  type MqttVersion,
  type PacketKind,
  type PacketProperties,
  type Publish,
  type ReceivedPacket,
  type ReceivedPublish,
  type Subscription,
  type Will,
} from './packets.ts';
export { decodePropertyBytes, encodeProperties } from './properties.ts';
