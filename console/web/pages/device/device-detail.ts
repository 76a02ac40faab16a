import type { AnswerOf } from '../../api.ts';

export type DeviceDetail = AnswerOf<'GET /v1/devices/:id'>;
