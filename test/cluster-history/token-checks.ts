/** A token is used as often as it may be, and each use is of a device that the database knows. */

import type { History, StoredToken } from './history.ts';

/** Sentences. */
export function checkTokens(history: History, tokens: readonly StoredToken[]): readonly string[] {
  const enrolled = new Map<string, Set<string>>();
  for (const entry of history) {
    if (entry.type !== 'enrolled') continue;
    const devices = enrolled.get(entry.token);
    if (devices === undefined) enrolled.set(entry.token, new Set([entry.device]));
    else devices.add(entry.device);
  }
  return tokens.flatMap(({ token, maximum, used, devices }) => {
    const seen = enrolled.get(token) ?? new Set<string>();
    const known = new Set(devices);
    return [
      ...(seen.size > maximum ? [`${token}: ${seen.size} devices have a certificate, ${maximum} may`] : []),
      ...(used > maximum ? [`${token}: ${used} uses are recorded, ${maximum} are allowed`] : []),
      ...(known.size > maximum ? [`${token}: ${known.size} devices are recorded, ${maximum} may be`] : []),
      ...[...seen].filter((device) => !known.has(device)).map((device) => `${token}: ${device} is not recorded`),
    ];
  });
}
