/** Passkeys (WebAuthn): requests and responses. Credentials and options have the JSON forms of WebAuthn Level 3, section 5.1. */

import { z } from 'zod';
import type { Endpoint } from './endpoint.ts';
import { time } from './schemas.ts';
import { signedInView } from './sign-in.ts';

/** More than any authenticator sends without certificates. */
const MAX_TEXT = 16_384;
const base64url = z
  .string()
  .max(MAX_TEXT)
  .regex(/^[A-Za-z0-9_-]+$/, 'expected base64url');

const MAX_TRANSPORTS = 10;
const transports = z.array(z.string().max(32)).max(MAX_TRANSPORTS);

const credentialFields = {
  id: base64url,
  rawId: base64url,
  type: z.literal('public-key'),
  authenticatorAttachment: z.enum(['platform', 'cross-platform']).nullish(),
  clientExtensionResults: z.looseObject({}),
};

const newCredential = z
  .looseObject({
    ...credentialFields,
    response: z.looseObject({
      clientDataJSON: base64url,
      attestationObject: base64url,
      transports: transports.optional(),
    }),
  })
  .describe('what navigator.credentials.create() returned, by toJSON()');

const credential = z
  .looseObject({
    ...credentialFields,
    response: z.looseObject({
      clientDataJSON: base64url,
      authenticatorData: base64url,
      signature: base64url,
      userHandle: base64url.nullish(),
    }),
  })
  .describe('what navigator.credentials.get() returned, by toJSON()');

const options = z
  .looseObject({ challenge: z.string() })
  .describe('for PublicKeyCredential.parseCreationOptionsFromJSON() or parseRequestOptionsFromJSON()');

export const passkeyView = z.object({
  id: z.string(),
  name: z.string(),
  rpId: z.string().describe('the host name under which it was added and works'),
  createdAt: time,
  lastUsedAt: time.optional(),
});

export const passkeyEndpoints = {
  beginPasskeySignIn: {
    method: 'POST',
    path: '/v1/sign-in/passkey/options',
    access: 'anyone',
    summary: 'begin to sign in with a passkey, without a name',
    answer: options,
  },
  signInWithPasskey: {
    method: 'POST',
    path: '/v1/sign-in/passkey',
    access: 'anyone',
    summary: 'sign in with a passkey',
    body: z.strictObject({ credential }),
    answer: signedInView,
  },
  beginPasskeyReauthentication: {
    method: 'POST',
    path: '/v1/reauthenticate/passkey/options',
    access: 'session',
    summary: 'begin to sign in again with a passkey',
    answer: options,
  },
  reauthenticateWithPasskey: {
    method: 'POST',
    path: '/v1/reauthenticate/passkey',
    access: 'session',
    summary: 'sign in again with a passkey; the session gets another cookie and CSRF token',
    body: z.strictObject({ credential }),
    answer: signedInView,
  },
  beginPasskey: {
    method: 'POST',
    path: '/v1/account/passkeys/options',
    access: 'session',
    recentSignIn: 'always',
    summary: 'begin to add a passkey',
    answer: options,
  },
  addPasskey: {
    method: 'POST',
    path: '/v1/account/passkeys',
    access: 'session',
    recentSignIn: 'always',
    summary: 'add a passkey',
    body: z.strictObject({ name: z.string().min(1).max(64), credential: newCredential }),
    answer: passkeyView,
  },
  removePasskey: {
    method: 'POST',
    path: '/v1/account/passkeys/remove',
    access: 'session',
    recentSignIn: 'always',
    summary: 'remove a passkey',
    body: z.strictObject({ id: base64url }),
    answer: z.object({}),
  },
} as const satisfies Record<string, Endpoint>;
