import { TRUST_STATEMENT_OID } from '@rollcall/protocol';
import type { Signer } from '../ca/signer.ts';
import {
  type Der,
  encodeDer,
  encoded,
  integer,
  octets,
  sequence,
  tagged,
  taggedBytes,
  time,
} from '../x509/der-writer.ts';
import {
  authorityKeyIdentifier,
  critical,
  derHeader,
  freshestCrl,
  nonCritical,
  OID,
  signatureAlgorithm,
  signed,
} from '../x509/x509-writer.ts';

/** RFC 5280, section 5.3.1. */
export const REASON_CODES = {
  unspecified: 0,
  keyCompromise: 1,
  affiliationChanged: 3,
  superseded: 4,
  cessationOfOperation: 5,
  certificateHold: 6,
  /** In a delta CRL: the certificate is no longer on hold. */
  removeFromCRL: 8,
  privilegeWithdrawn: 9,
} as const;

export interface CrlEntry {
  /** Hexadecimal. */
  readonly serial: string;
  readonly revokedAt: number;
  readonly reason: keyof typeof REASON_CODES;
}

export interface CrlFields {
  /** DER of the issuer's Name. */
  readonly issuer: Uint8Array;
  readonly keyIdentifier: Uint8Array;
  readonly number: number;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  /** The kind of certificates in it: of devices, services and servers, or of CAs. */
  readonly lists: 'users' | 'authorities';
  /** Makes it a delta CRL, relative to the full CRL of this number. */
  readonly baseNumber?: number | undefined;
  /** The URL of the delta CRL. */
  readonly deltaUrl?: string | undefined;
  /** The statement of a root about its fleet. */
  readonly statement?: TrustStatement | undefined;
}

/** As `protocol/trust-statement.ts` describes it. */
export interface TrustStatement {
  /** SHA-256 of certificates. */
  readonly roots: readonly Buffer[];
  readonly retiredRoots: readonly Buffer[];
  /** Hexadecimal. */
  readonly taintedIssuers: readonly string[];
}

/** Up to here: SEQUENCE, INTEGER of 20 bytes and its sign, GeneralizedTime, and the reason's extension. */
const ENTRY_BYTES_MAX = 2 + 23 + 17 + 14;

/** `entries`: what {@link writeCrlEntries} wrote, one piece after the other. */
export function writeCrl(contents: CrlFields, entries: Buffer, signer: Signer): Promise<Buffer> {
  const head = [
    encodeDer(integer(1)),
    signatureAlgorithm(),
    Buffer.from(contents.issuer),
    encodeDer(time(contents.thisUpdate)),
    encodeDer(time(contents.nextUpdate)),
    // An empty sequence is left out (RFC 5280, section 5.1.2.6).
    ...(entries.length === 0 ? [] : [derHeader(0x30, entries.length), entries]),
    encodeDer(tagged(0, sequence(...crlExtensions(contents)))),
  ];
  const length = head.reduce((sum, part) => sum + part.length, 0);
  return signed(Buffer.concat([derHeader(0x30, length), ...head]), signer);
}

function crlExtensions(contents: CrlFields): readonly Der[] {
  return [
    authorityKeyIdentifier(contents.keyIdentifier),
    nonCritical(OID.crlNumber, crlNumber(contents.number)),
    ...(contents.baseNumber === undefined ? [] : [critical(OID.deltaCrlIndicator, crlNumber(contents.baseNumber))]),
    ...(contents.deltaUrl === undefined ? [] : [freshestCrl(contents.deltaUrl)]),
    // onlyContainsUserCerts or onlyContainsCACerts, and no name: one list holds all of them, and a name would tie the
    // list to the URL that stood in certificates issued before the server moved (RFC 5280, section 6.3.3, step b.2).
    critical(OID.issuingDistributionPoint, sequence(taggedBytes(contents.lists === 'users' ? 1 : 2, Buffer.of(0xff)))),
    ...(contents.statement === undefined ? [] : [trustStatement(contents.statement)]),
  ];
}

/** Numbers made of the time have more than the 32 bits that the writer of integers takes as a number. */
function crlNumber(number: number): Der {
  const hex = number.toString(16);
  return integer(Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex'));
}

function trustStatement({ roots, retiredRoots, taintedIssuers }: TrustStatement): Der {
  const value = sequence(
    sequence(...roots.map(octets)),
    sequence(...retiredRoots.map(octets)),
    sequence(...taintedIssuers.map((serial) => integer(Buffer.from(serial, 'hex')))),
  );
  // Its arc has 128 bits, which the writer of object identifiers doesn't know.
  const id = Buffer.from(TRUST_STATEMENT_OID, 'hex');
  return sequence(encoded(Buffer.concat([Buffer.of(0x06, id.length), id])), octets(encodeDer(value)));
}

export function writeCrlEntries(entries: readonly CrlEntry[]): Buffer {
  const buffer = Buffer.allocUnsafe(entries.length * ENTRY_BYTES_MAX);
  const reasons = REASONS;
  let second = -1;
  let moment: Buffer = Buffer.alloc(0);
  let end = 0;
  for (const { serial, revokedAt, reason } of entries) {
    const start = end;
    end += 2; // an entry is shorter than 128 bytes: its header is written when its length is known
    end = writeSerial(buffer, end, serial);
    if (Math.floor(revokedAt / 1000) !== second) {
      // Many certificates are revoked by one command, and so in one second.
      second = Math.floor(revokedAt / 1000);
      moment = encodeDer(time(revokedAt));
    }
    end += moment.copy(buffer, end);
    end += reasons[reason].copy(buffer, end);
    buffer[start] = 0x30;
    buffer[start + 1] = end - start - 2;
  }
  return buffer.subarray(0, end);
}

function writeSerial(buffer: Buffer, at: number, serial: string): number {
  const hex = serial.length % 2 === 0 ? serial : `0${serial}`;
  const sign = Number.parseInt(hex.slice(0, 2), 16) >= 0x80 ? '00' : '';
  const length = (sign.length + hex.length) / 2;
  buffer[at] = 0x02;
  buffer[at + 1] = length;
  return at + 2 + buffer.write(sign + hex, at + 2, 'hex');
}

/** `unspecified` is expressed by leaving the extension out (RFC 5280, section 5.3.1). */
function reasonExtensions(): Readonly<Record<CrlEntry['reason'], Buffer>> {
  const extension = (code: number) =>
    code === 0 ? Buffer.alloc(0) : encodeDer(sequence(nonCritical('2.5.29.21', encoded(Buffer.of(0x0a, 0x01, code)))));
  return Object.fromEntries(
    Object.entries(REASON_CODES).map(([reason, code]) => [reason, extension(code)]),
  ) as unknown as Record<CrlEntry['reason'], Buffer>;
}

const REASONS = reasonExtensions();
