/**
 * Decodes request bodies: base64 of DER on one line or many for EST (RFC 8951, section 3), and PEM for the operators'
 * API. Only canonical base64 is accepted, so that no data is in what a decoder would skip.
 */

const PEM_REQUEST =
  /^\s*-----BEGIN (NEW )?CERTIFICATE REQUEST-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END \1?CERTIFICATE REQUEST-----\s*$/;

/** The DER bytes, or undefined when the text is not exactly base64 with optional line breaks and blanks. */
export function decodeBase64(text: string): Buffer | undefined {
  const packed = text.replace(/[\r\n\t ]+/g, '');
  if (packed === '') return undefined;
  const bytes = Buffer.from(packed, 'base64');
  return bytes.toString('base64') === packed ? bytes : undefined;
}

/** The DER bytes of one PEM request, with nothing before or after it. */
export function decodeCsrPem(text: string): Buffer | undefined {
  const base64 = PEM_REQUEST.exec(text)?.[2];
  return base64 === undefined ? undefined : decodeBase64(base64);
}
