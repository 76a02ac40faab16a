/**
 * The status of certificates for a thread beside the one that has the registry: over a connection of its own, which only reads. It sees
 * everything that was committed before it is asked. For a registry in a file, which is open already.
 */

import type { CertificateStatus } from '../registry.ts';
import { findCertificateStatus } from './certificate-status.ts';

export interface CertificateReaderOptions {
  readonly file: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

export interface CertificateReader {
  /** Rejects with Problem `unavailable`, and with what the database throws. */
  certificateStatus(serial: string): Promise<CertificateStatus>;
  close(): void;
}

/** The database is loaded here: commands that only ask a server start without it. */
export async function openCertificateReader({ file, now }: CertificateReaderOptions): Promise<CertificateReader> {
  const { openRegistryToRead } = await import('../sqlite/sqlite-database.ts');
  const database = openRegistryToRead(file, now);
  return {
    certificateStatus: async (serial) => findCertificateStatus(database, serial),
    close: () => database.close(),
  };
}
