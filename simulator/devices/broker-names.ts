/** The names that a broker expects: topics of telemetry and client ids, as templates with `{id}` and `{stream}`. */

import { ALL_TELEMETRY_FILTER, parseDeviceTopic } from '@rollcall/protocol';

export interface BrokerNames {
  /** Levels of a topic; `{id}` and `{stream}` are a level each. */
  readonly topic: string;
  /** Contains `{id}`. */
  readonly clientId: string;
}

/** Of Rollcall itself. */
export const FLEET_NAMES: BrokerNames = {
  topic: ALL_TELEMETRY_FILTER.replace('+', '{id}').replace('+', '{stream}'),
  clientId: '{id}',
};

export const TOPIC_TEMPLATE_RULE = 'a topic with {id} and {stream} as whole levels, such as site/{id}/{stream}';
export const CLIENT_ID_TEMPLATE_RULE = 'a client id with {id} in it, such as thing-{id}';

const TOPIC_MAX = 200;
const CLIENT_ID_MAX = 100;

/** Placeholders are whole levels; the other levels are of characters that are no wildcard. */
const TEMPLATE = /^(?:(?:\{id\}|\{stream\}|[^+#{}/\0]+)(?:\/(?!$)|$))+$/;

export function isTopicTemplate(text: string): boolean {
  const isOnce = (name: string) => text.indexOf(name) >= 0 && text.indexOf(name) === text.lastIndexOf(name);
  return text.length <= TOPIC_MAX && TEMPLATE.test(text) && isOnce('{id}') && isOnce('{stream}');
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
  const found = patternOf(template).exec(topic)?.groups as { readonly id: string; readonly stream: string } | undefined;
  return found && { device: found.id, stream: found.stream };
}

/** Of the last template: a run has one. */
let compiled: { readonly template: string; readonly pattern: RegExp } | undefined;

function patternOf(template: string): RegExp {
  if (compiled?.template !== template) {
    const pattern = template
      .replace(/[.*?^$()[\]\\|]/g, '\\$&')
      .replace('{id}', '(?<id>[^/]+)')
      .replace('{stream}', '(?<stream>[^/]+)');
    compiled = { template, pattern: new RegExp(`^${pattern}$`) };
  }
  return compiled.pattern;
}
