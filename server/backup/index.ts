/** Backups of a data directory, and what restores them. */

export { backUp } from './backup.ts';
export { atOneMoment } from './database-copy.ts';
export { restore } from './restore.ts';
export { type BackupSigner, publicKeyIn } from './signature.ts';
