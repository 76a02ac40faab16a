/**
 * node-forge encodes our own values and does nothing else: its known flaws are in what it parses and verifies. This
 * reads the whole tree, so that a new import cannot undo it quietly.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { sourceFiles } from '../../test/fixtures/source-files.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const THIS_FILE = 'enroll/x509/der-writer.test.ts';

const sources = sourceFiles('.ts', '.js', '.mjs', '.cjs')
  .filter((path) => path !== THIS_FILE)
  .map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }));

/** An import, a require, or a type of it. */
const FORGE = /['"]node-forge(?:\/[^'"]*)?['"]/;
/** The one module of it that may be loaded, and its types. */
const WRITER = /createRequire\(import\.meta\.url\)\('node-forge\/lib\/asn1\.js'\)|import type forge from 'node-forge'/g;
const READS =
  /\b(?:fromDer|fromPem|FromPem|FromAsn1|fromAsn1|FromPkcs12Asn1|derToOid|derToInteger|utcTimeToDate|generalizedTimeToDate|decryptRsaPrivateKey|messageFromPem|verifyCertificateChain|prettyPrint|validate)\b/;

describe('node-forge', () => {
  it('is loaded by the DER writer only, and of it the asn1 module only', () => {
    expect(sources.length).toBeGreaterThan(50);
    const users = sources.filter(({ text }) => FORGE.test(text)).map(({ path }) => path);
    expect(users).toEqual(['enroll/x509/der-writer.ts']);
    const writer = sources.find(({ path }) => path === 'enroll/x509/der-writer.ts')?.text ?? '';
    expect(writer.match(WRITER)?.length).toBe(2);
    expect(FORGE.test(writer.replace(WRITER, ''))).toBe(false);
  });

  it('parses and verifies nothing', () => {
    const writer = sources.find(({ path }) => path === 'enroll/x509/der-writer.ts')?.text ?? '';
    expect(writer).toContain('asn1.toDer');
    expect(writer).not.toMatch(READS);
  });

  it('is not exported: the writer exports only its own type and functions', () => {
    const writer = sources.find(({ path }) => path === 'enroll/x509/der-writer.ts')?.text ?? '';
    expect(writer).not.toMatch(/export\s*(?:const|let|\{)[^;]*asn1/);
  });
});
