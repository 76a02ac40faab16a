/**
 * Reads the names and extensions that a request asks for (RFC 2985, section 5.4.2; RFC 5280). They are compared or
 * refused, never copied into a certificate. `der-reader.ts` finds their bytes; @peculiar/x509 reads them.
 */

import 'reflect-metadata'; // @peculiar/x509 needs it and does not declare it
import {
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Name,
  SubjectAlternativeNameExtension,
} from '@peculiar/x509';
import { type DerNode, readDer } from '../x509/der-reader.ts';

export type RequestedExtensions =
  | {
      readonly ok: true;
      readonly commonNames: readonly string[];
      /** `url:spiffe://…`, `dns:…`: kind and value. */
      readonly alternativeNames: readonly string[];
    }
  | { readonly ok: false; readonly code: 'csr_malformed' | 'csr_extension_forbidden'; readonly reason: string };

const COMMON_NAME = '2.5.4.3';
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';

/** Contents of OIDs, in hexadecimal. */
const EXTENSION_REQUEST = '2a864886f70d01090e';
const SUBJECT_KEY_IDENTIFIER = '551d0e';
const KEY_USAGE = '551d0f';
const SUBJECT_ALT_NAME = '551d11';
const BASIC_CONSTRAINTS = '551d13';
const EXTENDED_KEY_USAGE = '551d25';

export function readRequestedExtensions(subject: DerNode, attributes: DerNode | undefined): RequestedExtensions {
  try {
    const commonNames = new Name(subject.bytes).getField(COMMON_NAME);
    const extensions = listExtensions(attributes);
    if (typeof extensions === 'string') return malformed(extensions);
    const alternativeNames: string[] = [];
    for (const extension of extensions) {
      const requested = readExtension(extension);
      if (!requested.ok) return requested;
      alternativeNames.push(...requested.alternativeNames);
    }
    return { ok: true, commonNames, alternativeNames };
  } catch {
    // The library's message may quote the request.
    return malformed('expected readable names and extensions');
  }
}

interface RequestedExtension {
  /** `SEQUENCE { extnID, critical, extnValue }`, DER. */
  readonly bytes: Buffer;
  readonly oid: string;
  readonly critical: boolean;
  readonly value: Buffer;
}

/** All of them; other attributes, such as a challenge password, are ignored (RFC 7030, section 3.2.3). */
function listExtensions(attributes: DerNode | undefined): readonly RequestedExtension[] | string {
  const requests = (attributes?.children ?? []).filter(
    ({ children }) => children[0]?.contents.toString('hex') === EXTENSION_REQUEST,
  );
  if (requests.length === 0) return [];
  const values = requests[0]?.children[1]?.children ?? [];
  const listed = values[0]?.children ?? [];
  if (requests.length > 1 || values.length !== 1 || listed.length === 0) return 'expected one list of extensions';
  const extensions = listed.map(({ bytes, children }) => ({
    bytes,
    oid: children[0]?.contents.toString('hex') ?? '',
    critical: children.length === 3 && children[1]?.contents[0] === 0xff,
    value: children.at(-1)?.contents ?? Buffer.alloc(0),
  }));
  const differ = new Set(extensions.map(({ oid }) => oid)).size === extensions.length;
  return differ ? extensions : 'found an extension twice';
}

/** The alternative names of a subjectAltName extension, none for other allowed ones, or the refusal. */
function readExtension({ bytes, oid, critical, value }: RequestedExtension): RequestedExtensions {
  const contents = readDer(value);
  if (typeof contents === 'string') return malformed(`in an extension: ${contents}`);
  switch (oid) {
    case BASIC_CONSTRAINTS:
      return new BasicConstraintsExtension(bytes).ca ? forbidden('found a request to be a CA') : allowed([]);
    case KEY_USAGE: {
      const signsForOthers = KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign;
      const { usages } = new KeyUsagesExtension(bytes);
      return (usages & signsForOthers) === 0 ? allowed([]) : forbidden('found a request to sign certificates');
    }
    case EXTENDED_KEY_USAGE: {
      const { usages } = new ExtendedKeyUsageExtension(bytes);
      if (usages.length === 0) return malformed('found an empty list of purposes');
      const all = usages.every((usage) => usage === CLIENT_AUTH);
      return all ? allowed([]) : forbidden('expected no purpose but client authentication');
    }
    case SUBJECT_ALT_NAME: {
      const { items } = new SubjectAlternativeNameExtension(bytes).names;
      if (items.length === 0) return malformed('found an empty list of alternative names');
      return allowed(items.map((name) => `${name.type}:${name.value}`));
    }
    case SUBJECT_KEY_IDENTIFIER:
      return allowed([]);
    default:
      return critical ? forbidden('found a critical extension that is not known') : allowed([]);
  }
}

function allowed(alternativeNames: readonly string[]): RequestedExtensions {
  return { ok: true, commonNames: [], alternativeNames };
}

function forbidden(reason: string): RequestedExtensions {
  return { ok: false, code: 'csr_extension_forbidden', reason };
}

function malformed(reason: string): RequestedExtensions {
  return { ok: false, code: 'csr_malformed', reason };
}
