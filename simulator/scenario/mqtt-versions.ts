/** Which share of the devices of a group uses which version of MQTT, as scenarios and the command line write it. */

import { parseFraction } from '@rollcall/protocol';
import { z } from 'zod';

/** Protocol level: 3.1.1 or 5. */
export type MqttLevel = 4 | 5;

export const MQTT_RULE = '5, 3.1.1, or the shares of both, such as { 5: 70%, 3.1.1: 30% }';
/** As an argument of the command line. */
export const MQTT_ARGUMENT_RULE = '5, 3.1.1, or the shares of both, such as 5=70%,3.1.1=30%';
/** Shares are written with three decimals at most. */
const TOLERANCE = 1e-6;

const share = z.union([z.string(), z.number()]).transform((value, context) => {
  const parsed = parseVersionShare(String(value));
  if (parsed !== undefined) return parsed;
  context.addIssue({ code: 'custom', message: 'expected a share such as 70% or 0.7' });
  return z.NEVER;
});

/** The share of devices that use MQTT 5, from 0 to 1. */
export const mqttVersions = z
  .union([z.literal([5, '5', '3.1.1']), z.strictObject({ '5': share, '3.1.1': share })], {
    error: `expected ${MQTT_RULE}`,
  })
  .meta({ description: `version of MQTT: ${MQTT_RULE}` })
  .transform((value, context) => {
    if (typeof value !== 'object') return value === '3.1.1' ? 0 : 1;
    if (Math.abs(value['5'] + value['3.1.1'] - 1) < TOLERANCE) return value['5'];
    context.addIssue({ code: 'custom', message: 'expected shares of 5 and 3.1.1 that add up to 100%' });
    return z.NEVER;
  });

/** `70%` or `0.7`. */
function parseVersionShare(text: string): number | undefined {
  if (!text.endsWith('%')) return parseFraction(text, 0, 1);
  const percent = parseFraction(text.slice(0, -1), 0, 100);
  return percent === undefined ? undefined : percent / 100;
}

/** The share of MQTT 5 in an argument of the command line; undefined when it is none. */
export function parseMqttVersions(text: string): number | undefined {
  const parts = text.split(',').map((part) => part.split('='));
  const value = text.includes('=') ? Object.fromEntries(parts) : text;
  return mqttVersions.safeParse(value).data;
}

/** One level for each of `count` devices: as many of MQTT 5 as the share says, in an order that `random` chooses. */
export function assignMqttLevels(count: number, share5: number, random: () => number): readonly MqttLevel[] {
  let left5 = Math.round(count * share5);
  return Array.from({ length: count }, (_, at) => {
    const isFive = random() * (count - at) < left5;
    if (isFive) left5 -= 1;
    return isFive ? 5 : 4;
  });
}
