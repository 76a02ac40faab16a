/** How a running fleet is, as the console shows it to those who watch: counters of every module, and whether certificates are well. */

export interface Counted {
  counters(): Readonly<Record<string, number>>;
}

/** Of the rooms that count; each has names of its own. */
export function fleetCounters(rooms: Readonly<Record<string, Counted>>): Readonly<Record<string, number>> {
  return Object.assign({}, ...Object.values(rooms).map((room) => room.counters())) as Record<string, number>;
}

/** `refused`: a new server certificate could not be used; the old one is. */
export function certificateHealth(certificates: { fileErrors(): Readonly<Record<string, unknown>> }): 'ok' | 'refused' {
  return Object.keys(certificates.fileErrors()).length === 0 ? 'ok' : 'refused';
}
