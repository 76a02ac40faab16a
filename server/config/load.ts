/**
 * What programs that start a server or read its files need: the configuration from its sources, passphrase files and the logger. Apart
 * from `index.ts`, so that commands which only ask a server start without the schema of the configuration.
 */

export { createLogger } from '../logger.ts';
export { loadConfig } from './config-sources.ts';
export { readPassphraseFile } from './passphrase-file.ts';
