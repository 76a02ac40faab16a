/**
 * Keys that never leave a token: PKCS#11 through `pkcs11js`, which is loaded only when it is asked for. Signatures are
 * made on another thread, one at a time as a session demands, and turned from the token's form (r and s side by side)
 * into DER. A token that is gone is looked for again by the next request.
 */

import { createHash, randomBytes } from 'node:crypto';
import { Problem } from '@rollcall/protocol';
import type { PKCS11 } from 'pkcs11js';
import { encodeDer, integer, sequence } from '../x509/der-writer.ts';
import { openRefusedPin } from './refused-pin.ts';
import { readSecretFile } from './secret-file.ts';
import type { Signer } from './signer.ts';

export interface Pkcs11Options {
  /** The vendor's library, such as /usr/lib/softhsm/libsofthsm2.so. */
  readonly module: string;
  /** Label of the token. */
  readonly token: string;
  /** A file that holds its PIN. */
  readonly pinFile: string;
}

export interface Pkcs11Environment {
  /** A file of ours that remembers the PIN that the token refused. */
  readonly refusedPinFile: string;
  /** systemd's `$CREDENTIALS_DIRECTORY`. */
  readonly credentialsDirectory: string | undefined;
}

export interface Pkcs11Signer extends Signer {
  /** Where the key lies (RFC 7512). */
  readonly uri: string;
}

export interface Pkcs11Token {
  /** A key pair on P-256 that cannot be taken out. */
  generate(label: string): Promise<Pkcs11Signer>;
  /** Problem `signer_unavailable` when the token is not there, `authority_unusable` when it has no such key. */
  find(uri: string): Promise<Pkcs11Signer>;
  close(): void;
}

/** SubjectPublicKeyInfo of an EC key on P-256, up to the point. */
const SPKI_HEAD = Buffer.from('3059301306072a8648ce3d020106082a8648ce3d030107034200', 'hex');
const P256 = Buffer.from('06082a8648ce3d030107', 'hex');
const COORDINATE = 32;

interface Session {
  readonly api: PKCS11;
  readonly handle: Buffer;
}

/** Throws Problem `config_invalid` when `pkcs11js` or the library is missing. */
export async function openPkcs11Token(
  options: Pkcs11Options,
  { refusedPinFile, credentialsDirectory }: Pkcs11Environment,
): Promise<Pkcs11Token> {
  // A CommonJS package whose constants are added by a loop: plain Node gives them to the default import only.
  const { default: pkcs11js } = await import('pkcs11js').catch((cause: unknown) => {
    throw new Problem('config_invalid', {
      reason: 'keys in a token: expected the addon pkcs11js, which is compiled on request only, and it is not there',
      hint: 'run "npm run build:pkcs11" in Rollcall\'s own folder',
      cause,
    });
  });
  const constants = pkcs11js;
  const api = new pkcs11js.PKCS11();
  try {
    api.load(options.module);
  } catch (cause) {
    throw new Problem('config_invalid', { reason: `expected a PKCS#11 library at ${options.module}`, cause });
  }
  const refusedPin = await openRefusedPin(refusedPinFile);
  let session: Session | undefined;
  let isInitialized = false;

  const refusals = new Set<unknown>([
    constants.CKR_PIN_INCORRECT,
    constants.CKR_PIN_INVALID,
    constants.CKR_PIN_LEN_RANGE,
  ]);

  const letGo = (): void => {
    session = undefined;
    if (!isInitialized) return;
    isInitialized = false;
    // The only way to make a library look again at what is plugged in.
    attempt(() => api.C_Finalize());
  };

  const connect = async (): Promise<Session> => {
    if (session !== undefined) return session;
    const pin = (await readSecretFile(options.pinFile, 'PIN', credentialsDirectory)).trim();
    try {
      api.C_Initialize();
      isInitialized = true;
      const slot = api.C_GetSlotList(true).find((each) => api.C_GetTokenInfo(each).label.trim() === options.token);
      if (slot === undefined) throw new Error(`no token "${options.token}"`);
      // Tokens count: after a few wrong ones nobody can sign any more, whatever the PIN.
      const serial = api.C_GetTokenInfo(slot).serialNumber.trim();
      await refusedPin.rejectIfKnown(serial, pin);
      const handle = api.C_OpenSession(slot, constants.CKF_SERIAL_SESSION | constants.CKF_RW_SESSION);
      try {
        api.C_Login(handle, constants.CKU_USER, pin);
      } catch (error) {
        if (refusals.has((error as { code?: unknown }).code)) await refusedPin.remember(serial, pin);
        throw error;
      }
      await refusedPin.clear();
      session = { api, handle };
      return session;
    } catch (error) {
      letGo();
      throw unavailable(error);
    }
  };

  // A session does one thing at a time (PKCS#11 v2.40, section 5.2).
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <Result>(work: (session: Session) => Promise<Result>): Promise<Result> => {
    const result = last.then(async () => {
      const current = await connect();
      try {
        return await work(current);
      } catch (error) {
        if (error instanceof Problem) throw error;
        letGo();
        throw unavailable(error);
      }
    });
    last = result.catch(() => undefined);
    return result;
  };

  const objectOf = ({ handle }: Session, kind: number, id: Buffer): Buffer => {
    api.C_FindObjectsInit(handle, [
      { type: constants.CKA_CLASS, value: kind },
      { type: constants.CKA_ID, value: id },
    ]);
    try {
      const [found] = api.C_FindObjects(handle, 1);
      if (found === undefined) throw new Error('the key is not in the token');
      return found;
    } finally {
      api.C_FindObjectsFinal(handle);
    }
  };

  const spkiOf = (current: Session, publicKey: Buffer): Buffer => {
    const [attribute] = api.C_GetAttributeValue(current.handle, publicKey, [{ type: constants.CKA_EC_POINT }]);
    const value = attribute?.value as Buffer;
    // DER OCTET STRING around the point, as the standard says; some tokens give the point alone.
    const point = value.length === 67 ? value.subarray(2) : value;
    if (point.length !== 65 || point[0] !== 4) throw new Error('the key is not an EC key on P-256');
    return Buffer.concat([SPKI_HEAD, point]);
  };

  const signerFor = (id: Buffer, publicKeySpki: Buffer): Pkcs11Signer => ({
    uri: `pkcs11:token=${encodeURIComponent(options.token)};id=%${id.toString('hex').replace(/..(?=.)/g, '$&%')};type=private`,
    publicKeySpki,
    sign: (tbs) =>
      inTurn(async (current) => {
        const key = objectOf(current, constants.CKO_PRIVATE_KEY, id);
        api.C_SignInit(current.handle, { mechanism: constants.CKM_ECDSA }, key);
        const digest = createHash('sha256').update(tbs).digest();
        const signature = await api.C_SignAsync(current.handle, digest, Buffer.alloc(2 * COORDINATE));
        return derSignature(signature);
      }),
  });

  return {
    generate: (label) =>
      inTurn(async (current) => {
        const id = randomBytes(16);
        const named = [
          { type: constants.CKA_TOKEN, value: true },
          { type: constants.CKA_ID, value: id },
          { type: constants.CKA_LABEL, value: `rollcall ${label}` },
        ];
        const keys = api.C_GenerateKeyPair(
          current.handle,
          { mechanism: constants.CKM_EC_KEY_PAIR_GEN },
          [...named, { type: constants.CKA_EC_PARAMS, value: P256 }, { type: constants.CKA_VERIFY, value: true }],
          [
            ...named,
            { type: constants.CKA_PRIVATE, value: true },
            { type: constants.CKA_SENSITIVE, value: true },
            { type: constants.CKA_EXTRACTABLE, value: false },
            { type: constants.CKA_SIGN, value: true },
          ],
        );
        return signerFor(id, spkiOf(current, keys.publicKey));
      }),
    find: (uri) =>
      inTurn(async (current) => {
        const hex = /(?:^pkcs11:|;)id=((?:%[0-9a-f]{2})+)/i.exec(uri)?.[1]?.replaceAll('%', '');
        if (hex === undefined)
          throw new Problem('authority_unusable', { reason: `expected a pkcs11: URI with an id, found ${uri}` });
        const id = Buffer.from(hex, 'hex');
        return signerFor(id, spkiOf(current, objectOf(current, constants.CKO_PUBLIC_KEY, id)));
      }),
    close: letGo,
  };
}

/** r and s as two INTEGERs (RFC 3279, section 2.2.3). */
export function derSignature(sideBySide: Buffer): Buffer {
  const half = sideBySide.length / 2;
  return encodeDer(
    sequence(integer(minimal(sideBySide.subarray(0, half))), integer(minimal(sideBySide.subarray(half)))),
  );
}

function minimal(bytes: Buffer): Buffer {
  const start = bytes.findIndex((byte) => byte !== 0);
  return start < 0 ? Buffer.of(0) : bytes.subarray(start);
}

function unavailable(error: unknown): Problem {
  if (error instanceof Problem) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new Problem('signer_unavailable', { reason: `PKCS#11 token: ${reason}`, cause: error });
}

function attempt(act: () => void): void {
  try {
    act();
  } catch {
    // What is gone already cannot be let go.
  }
}
