/** Copies of journals from one store to another. Their code is loaded by the command that moves a fleet alone. */

export type JournalCopies = typeof import('./copy/copy-journal.ts');

export function loadJournalCopies(): Promise<JournalCopies> {
  return import('./copy/copy-journal.ts');
}
