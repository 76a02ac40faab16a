/** Times in the API: ISO 8601 in UTC. Elsewhere they are milliseconds since the epoch. */

export function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}

export function isoTimeIfAny(ms: number | undefined): string | undefined {
  return ms === undefined ? undefined : isoTime(ms);
}
