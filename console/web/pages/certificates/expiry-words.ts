/** What the kinds of expiring things are called, in the order of the list. */

import type { AnswerOf } from '../../api.ts';

export type Expiring = AnswerOf<'GET /v1/certificates/expiring'>['expiring'][number];
export type Kind = Expiring['kind'];

export const KINDS: Readonly<Record<Kind, string>> = {
  device: 'Devices',
  service: 'Services',
  server: 'Listeners',
  token: 'Tokens',
  'operator-key': 'API keys',
  'issuing-ca': 'Issuing CAs',
  root: 'Roots',
  'cross-certificate': 'Cross certificates',
  'ocsp-signer': 'OCSP signers',
  crl: 'CRLs',
};

export const KIND_NAMES = Object.keys(KINDS) as readonly Kind[];

export const WEEK_SECONDS = 7 * 86_400;
