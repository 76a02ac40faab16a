/** The text of an API key: `rollcall_ID_SECRET`. Programs that look for secrets in published files find it by its first word. */

const API_KEY = /^rollcall_([0-9a-f]{16})_([A-Za-z0-9_-]{43})$/;

export interface ApiKey {
  /** 16 digits of lower-case hexadecimal; public. */
  readonly id: string;
  /** 256 bits, base64url. */
  readonly secret: string;
}

export function formatApiKey({ id, secret }: ApiKey): string {
  return `rollcall_${id}_${secret}`;
}

/** Undefined for any other text. */
export function parseApiKey(text: string): ApiKey | undefined {
  const [, id, secret] = API_KEY.exec(text) ?? [];
  return id === undefined || secret === undefined ? undefined : { id, secret };
}
