/** What commands use without a configuration: units, versions, names of files and the clock. `load.ts` loads a configuration. */

export { expectPlausibleClock, RELEASED_AT } from '../clock.ts';
export { CONSOLE_SOCKET } from '../data-directory.ts';
export { runtime } from '../runtime.ts';
export { version } from '../version.ts';
export type { Config } from './config.ts';
export { DURATION_RULE, formatDuration, formatSize, parseDuration } from './units.ts';
