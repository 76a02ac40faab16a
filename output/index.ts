/** What a program writes: control characters escaped, and no stream that is lost waited for. Imports nothing of Rollcall. */

export { isTerminal } from './descriptor.ts';
export { escapeControls, escapeControlsInLines, escapeJson, hasControls, jsonText } from './escape.ts';
export { BROKEN_PIPE_EXIT_CODE, OutputLostError, systemReason } from './standard-output.ts';
export { standardError, standardOutput } from './standard-streams.ts';
