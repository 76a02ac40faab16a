/** The configuration of a server, and what commands use without starting a server. */

export { expectPlausibleClock, RELEASED_AT } from '../clock.ts';
export { CONSOLE_SOCKET } from '../data-directory.ts';
export { createLogger } from '../logger.ts';
export { runtime } from '../runtime.ts';
export { version } from '../version.ts';
export type { Config } from './config.ts';
export { loadConfig } from './config-sources.ts';
export { readPassphraseFile } from './passphrase-file.ts';
export { DURATION_RULE, formatDuration, formatSize, parseDuration } from './units.ts';
