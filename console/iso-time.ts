/** Times as operators read them: ISO 8601 in UTC. Inside the house they are milliseconds since the epoch. */

export function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}

export function isoTimeIfAny(ms: number | undefined): string | undefined {
  return ms === undefined ? undefined : isoTime(ms);
}
