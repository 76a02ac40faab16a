/** The names that a broker expects: topics of telemetry and client ids, as templates with `{id}` and `{stream}`. */

import { ALL_TELEMETRY_FILTER, parseDeviceTopic } from '@rollcall/protocol';

export interface BrokerNames {
  /** Levels of a topic; `{id}` and `{stream}` are a level each. */
  readonly topic: string;
  /** Contains `{id}`. */
  readonly clientId: string;
}

export const FLEET_NAMES: BrokerNames = { topic: 'devices/{id}/telemetry/{stream}', clientId: '{id}' };

export const TOPIC_TEMPLATE_RULE = 'a topic with {id} and {stream} as whole levels, such as site/{id}/{stream}';
export const CLIENT_ID_TEMPLATE_RULE = 'a client id with {id} in it, such as thing-{id}';

const TOPIC_MAX = 200;
const CLIENT_ID_MAX = 100;

export function isTopicTemplate(text: string): boolean {
  const levels = text.split('/');
  const once = (name: string) => levels.filter((level) => level === name).length === 1;
  const others = levels.filter((level) => level !== '{id}' && level !== '{stream}');
  return (
    text.length <= TOPIC_MAX && once('{id}') && once('{stream}') && others.every((level) => /^[^+#{}\0]+$/.test(level))
  );
}

export function isClientIdTemplate(text: string): boolean {
  return text.length <= CLIENT_ID_MAX && text.split('{id}').length === 2 && /^[^{}\0]*$/.test(text.replace('{id}', ''));
}

export function topicOf({ topic }: BrokerNames, id: string, stream: string): string {
  return topic.replace('{id}', () => id).replace('{stream}', () => stream);
}

export function clientIdOf({ clientId }: BrokerNames, id: string): string {
  return clientId.replace('{id}', () => id);
}

/** The filter for the telemetry of all devices. */
export function telemetryFilter(names: BrokerNames): string {
  return names.topic === FLEET_NAMES.topic ? ALL_TELEMETRY_FILTER : topicOf(names, '+', '+');
}

/** Device and stream of a telemetry topic; undefined for every other topic. */
export function readTelemetryTopic(
  { topic: template }: BrokerNames,
  topic: string,
): { readonly device: string; readonly stream: string } | undefined {
  if (template === FLEET_NAMES.topic) {
    const parsed = parseDeviceTopic(topic);
    return parsed?.kind === 'telemetry' ? parsed : undefined;
  }
  const expected = template.split('/');
  const levels = topic.split('/');
  if (levels.length !== expected.length) return undefined;
  const isOther = expected.some((level, at) => level !== '{id}' && level !== '{stream}' && level !== levels[at]);
  if (isOther) return undefined;
  const at = (name: string) => levels[expected.indexOf(name)] as string;
  return { device: at('{id}'), stream: at('{stream}') };
}
