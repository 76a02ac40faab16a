/** Health checks of the server that the console cannot make itself. */

/** `refused`: a new server certificate could not be used; the old one stays in use. */
export function certificateHealth(certificates: { fileErrors(): Readonly<Record<string, unknown>> }): 'ok' | 'refused' {
  return Object.keys(certificates.fileErrors()).length === 0 ? 'ok' : 'refused';
}
