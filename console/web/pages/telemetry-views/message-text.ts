/** The payload of a message as text. */

import type { AnswerOf } from '../../api.ts';

export type Message = AnswerOf<'GET /v1/telemetry/follow'>;

export function payloadText({ payload, text, base64 }: Message): string {
  if (text !== undefined) return text;
  if (base64 !== undefined) return `base64 ${base64}`;
  return JSON.stringify(payload) ?? '';
}
