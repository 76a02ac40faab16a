/**
 * CA keys in a PKCS#11 token, which never leave it. `pkcs11js` is loaded only when it is configured. The session signs on
 * another thread, one operation at a time, and the signature is converted from r and s side by side into DER. A token
 * that was unplugged is looked for again at the next operation.
 */

import { createHash, randomBytes } from 'node:crypto';
import { Problem } from '@rollcall/protocol';
import type { PKCS11 } from 'pkcs11js';
import { encodeDer, integer, sequence } from '../x509/der-writer.ts';
import { openRefusedPin, type RefusedPin } from './refused-pin.ts';
import { readSecretFile } from './secret-file.ts';
import { SerialQueue } from './serial-queue.ts';
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
  /** The file that stores the PIN that the token refused last. */
  readonly refusedPinFile: string;
  /** systemd's `$CREDENTIALS_DIRECTORY`. */
  readonly credentialsDirectory: string | undefined;
}

export interface Pkcs11Signer extends Signer {
  /** The PKCS#11 URI of the key (RFC 7512). */
  readonly uri: string;
}

export interface Pkcs11Token {
  /** Creates a key pair on P-256 that cannot be extracted. */
  generate(label: string): Promise<Pkcs11Signer>;
  /** Throws Problem `signer_unavailable` without the token, or `authority_unusable` for a URI without an id. */
  find(uri: string): Promise<Pkcs11Signer>;
  close(): void;
}

/** SubjectPublicKeyInfo of an EC key on P-256, up to the point. */
const SPKI_HEAD = Buffer.from('3059301306072a8648ce3d020106082a8648ce3d030107034200', 'hex');
const P256 = Buffer.from('06082a8648ce3d030107', 'hex');
const COORDINATE = 32;

/** The default export of `pkcs11js`: the class and the constants of the standard. */
type Pkcs11Module = typeof import('pkcs11js');

/** Throws Problem `config_invalid` when `pkcs11js` or the vendor's library is missing. */
export async function openPkcs11Token(
  options: Pkcs11Options,
  { refusedPinFile, credentialsDirectory }: Pkcs11Environment,
): Promise<Pkcs11Token> {
  const pkcs11js = await loadPkcs11js();
  const api = new pkcs11js.PKCS11();
  try {
    api.load(options.module);
  } catch (cause) {
    throw new Problem('config_invalid', { reason: `expected a PKCS#11 library at ${options.module}`, cause });
  }
  const refusedPin = await openRefusedPin(refusedPinFile);
  const readPin = async () => (await readSecretFile(options.pinFile, 'PIN', credentialsDirectory)).trim();
  const session = new TokenSession({ api, constants: pkcs11js, label: options.token, readPin, refusedPin });
  return tokenOf(session, new TokenObjects(api, pkcs11js), options.token);
}

async function loadPkcs11js(): Promise<Pkcs11Module> {
  // A CommonJS package that adds its constants in a loop: Node makes them part of the default export only.
  const { default: pkcs11js } = await import('pkcs11js').catch((cause: unknown) => {
    throw new Problem('config_invalid', {
      reason: 'keys in a token: expected the addon pkcs11js, which is compiled on request only, and it is not there',
      hint: 'run "npm run build:pkcs11" in a checkout, or "npm install pkcs11js" beside an installed package',
      cause,
    });
  });
  return pkcs11js;
}

function tokenOf(session: TokenSession, objects: TokenObjects, token: string): Pkcs11Token {
  const signerFor = (id: Buffer, publicKeySpki: Buffer): Pkcs11Signer => ({
    uri: `pkcs11:token=${encodeURIComponent(token)};id=%${id.toString('hex').replace(/..(?=.)/g, '$&%')};type=private`,
    publicKeySpki,
    sign: (tbs) => session.run(async (handle) => derSignature(await objects.sign(handle, id, tbs))),
  });
  return {
    generate: (label) =>
      session.run(async (handle) => {
        const id = randomBytes(16);
        return signerFor(id, objects.spkiOf(handle, objects.generateKeyPair(handle, id, label)));
      }),
    find: (uri) =>
      session.run(async (handle) => {
        const hex = /(?:^pkcs11:|;)id=((?:%[0-9a-f]{2})+)/i.exec(uri)?.[1]?.replaceAll('%', '');
        if (hex === undefined)
          throw new Problem('authority_unusable', { reason: `expected a pkcs11: URI with an id, found ${uri}` });
        const id = Buffer.from(hex, 'hex');
        return signerFor(id, objects.spkiOf(handle, objects.findPublicKey(handle, id)));
      }),
    close: () => session.close(),
  };
}

interface TokenSessionOptions {
  readonly api: PKCS11;
  readonly constants: Pkcs11Module;
  /** Of the token. */
  readonly label: string;
  readonly readPin: () => Promise<string>;
  readonly refusedPin: RefusedPin;
}

/** A logged-in session. It is opened by the first operation, and again after an error. */
class TokenSession {
  readonly #options: TokenSessionOptions;
  /** A session runs one operation at a time (PKCS#11 v2.40, section 5.2). */
  readonly #operations = new SerialQueue();
  #handle: Buffer | undefined;
  #isInitialized = false;

  constructor(options: TokenSessionOptions) {
    this.#options = options;
  }

  /** Throws Problem `signer_unavailable` when the token is not there or fails. */
  run<Result>(operation: (handle: Buffer) => Promise<Result>): Promise<Result> {
    return this.#operations.add(async () => {
      try {
        this.#handle ??= await this.#login();
        return await operation(this.#handle);
      } catch (error) {
        // A Problem of the operation itself says nothing about the session.
        if (error instanceof Problem && this.#handle !== undefined) throw error;
        this.close();
        throw unavailable(error);
      }
    });
  }

  close(): void {
    this.#handle = undefined;
    if (!this.#isInitialized) return;
    this.#isInitialized = false;
    try {
      // Only a library that was finalized looks for newly plugged tokens.
      this.#options.api.C_Finalize();
    } catch {
      // The token is unplugged, and the session with it.
    }
  }

  async #login(): Promise<Buffer> {
    const { api, constants, label, readPin, refusedPin } = this.#options;
    const pin = await readPin();
    api.C_Initialize();
    this.#isInitialized = true;
    const slot = api.C_GetSlotList(true).find((each) => api.C_GetTokenInfo(each).label.trim() === label);
    if (slot === undefined) throw new Error(`no token "${label}"`);
    // A token locks itself after a few wrong PINs, so a refused PIN is never tried again.
    const serial = api.C_GetTokenInfo(slot).serialNumber.trim();
    await refusedPin.rejectIfKnown(serial, pin);
    const handle = api.C_OpenSession(slot, constants.CKF_SERIAL_SESSION | constants.CKF_RW_SESSION);
    try {
      api.C_Login(handle, constants.CKU_USER, pin);
    } catch (error) {
      const refusals: unknown[] = [constants.CKR_PIN_INCORRECT, constants.CKR_PIN_INVALID, constants.CKR_PIN_LEN_RANGE];
      if (refusals.includes((error as { code?: unknown }).code)) await refusedPin.remember(serial, pin);
      throw error;
    }
    await refusedPin.clear();
    return handle;
  }
}

/** The key objects of a token, in the calls of PKCS#11. */
class TokenObjects {
  readonly #api: PKCS11;
  readonly #constants: Pkcs11Module;

  constructor(api: PKCS11, constants: Pkcs11Module) {
    this.#api = api;
    this.#constants = constants;
  }

  /** The public key of a new pair. */
  generateKeyPair(handle: Buffer, id: Buffer, label: string): Buffer {
    const constants = this.#constants;
    const named = [
      { type: constants.CKA_TOKEN, value: true },
      { type: constants.CKA_ID, value: id },
      { type: constants.CKA_LABEL, value: `rollcall ${label}` },
    ];
    const { publicKey } = this.#api.C_GenerateKeyPair(
      handle,
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
    return publicKey;
  }

  findPublicKey(handle: Buffer, id: Buffer): Buffer {
    return this.#find(handle, this.#constants.CKO_PUBLIC_KEY, id);
  }

  /** r and s side by side. */
  sign(handle: Buffer, id: Buffer, tbs: Uint8Array): Promise<Buffer> {
    const key = this.#find(handle, this.#constants.CKO_PRIVATE_KEY, id);
    this.#api.C_SignInit(handle, { mechanism: this.#constants.CKM_ECDSA }, key);
    const digest = createHash('sha256').update(tbs).digest();
    return this.#api.C_SignAsync(handle, digest, Buffer.alloc(2 * COORDINATE));
  }

  spkiOf(handle: Buffer, publicKey: Buffer): Buffer {
    const [attribute] = this.#api.C_GetAttributeValue(handle, publicKey, [{ type: this.#constants.CKA_EC_POINT }]);
    const value = attribute?.value as Buffer;
    // The standard wants a DER OCTET STRING around the point; some tokens return the point alone.
    const point = value.length === 67 ? value.subarray(2) : value;
    if (point.length !== 65 || point[0] !== 4) throw new Error('the key is not an EC key on P-256');
    return Buffer.concat([SPKI_HEAD, point]);
  }

  #find(handle: Buffer, kind: number, id: Buffer): Buffer {
    this.#api.C_FindObjectsInit(handle, [
      { type: this.#constants.CKA_CLASS, value: kind },
      { type: this.#constants.CKA_ID, value: id },
    ]);
    try {
      const [found] = this.#api.C_FindObjects(handle, 1);
      if (found === undefined) throw new Error('the key is not in the token');
      return found;
    } finally {
      this.#api.C_FindObjectsFinal(handle);
    }
  }
}

/** r and s as two INTEGERs (RFC 3279, section 2.2.3). */
export function derSignature(rAndS: Buffer): Buffer {
  const half = rAndS.length / 2;
  return encodeDer(
    sequence(integer(withoutLeadingZeros(rAndS.subarray(0, half))), integer(withoutLeadingZeros(rAndS.subarray(half)))),
  );
}

function withoutLeadingZeros(bytes: Buffer): Buffer {
  const start = bytes.findIndex((byte) => byte !== 0);
  return start < 0 ? Buffer.of(0) : bytes.subarray(start);
}

function unavailable(error: unknown): Problem {
  if (error instanceof Problem) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new Problem('signer_unavailable', { reason: `PKCS#11 token: ${reason}`, cause: error });
}
