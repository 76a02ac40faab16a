/** The operators' HTTP API, and its client in `client.ts`. */

export { type Console, createConsole } from './console.ts';
export { createProbeServer } from './probes.ts';
export type { CaControl } from './server-controls.ts';
