/** What a program writes: control characters escaped, and no stream that is lost waited for. Imports nothing of Rollcall. */

export { isTerminal } from './descriptor.ts';
export { escapeJson, hasControls, jsonText, visible, visibleLines } from './escape.ts';
export { OutputLost, READER_GONE_EXIT, systemReason } from './standard-output.ts';
export { standardError, standardOutput } from './standard-streams.ts';
