/** The parts of the server's health that the console does not find out itself. */

/** `refused`: a new server certificate could not be used; the old one is. */
export function certificateHealth(certificates: { fileErrors(): Readonly<Record<string, unknown>> }): 'ok' | 'refused' {
  return Object.keys(certificates.fileErrors()).length === 0 ? 'ok' : 'refused';
}
