/** Passkeys in the browser (WebAuthn Level 3): from the options of the server to the credential that it verifies. */

import { ApiProblem, type RequestOf } from './api.ts';

type Options = Readonly<Record<string, unknown>>;
type NewCredential = RequestOf<'POST /v1/account/passkeys'>['body']['credential'];
type UsedCredential = RequestOf<'POST /v1/sign-in/passkey'>['body']['credential'];

/** Problem `passkey_unused` when the person or the browser ended it. */
export async function createPasskey(options: Options): Promise<NewCredential> {
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(
    options as unknown as PublicKeyCredentialCreationOptionsJSON,
  );
  return credentialOf(() => navigator.credentials.create({ publicKey }));
}

/** Problem `passkey_unused` when the person or the browser ended it. */
export async function usePasskey(options: Options): Promise<UsedCredential> {
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(
    options as unknown as PublicKeyCredentialRequestOptionsJSON,
  );
  return credentialOf(() => navigator.credentials.get({ publicKey }));
}

async function credentialOf<Json>(ask: () => Promise<Credential | null>): Promise<Json> {
  let credential: Credential | null;
  try {
    credential = await ask();
  } catch (error) {
    throw new ApiProblem('passkey_unused', 0, sentenceOf(error));
  }
  if (!(credential instanceof PublicKeyCredential)) throw new ApiProblem('passkey_unused', 0, 'No passkey was used.');
  return credential.toJSON() as Json;
}

function sentenceOf(error: unknown): string {
  switch (error instanceof DOMException ? error.name : '') {
    case 'NotAllowedError':
      return 'No passkey was used: it was cancelled, took too long, or there is none for this console.';
    case 'InvalidStateError':
      return 'This authenticator has a passkey for your account already.';
    case 'SecurityError':
      return 'The browser allows no passkey here. Open the console by its host name, with a certificate that it trusts.';
    default:
      return `The browser could not use a passkey: ${String(error)}`;
  }
}
