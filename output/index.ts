/** Output of a program: escapes control characters and never waits for a stream that cannot be written. Imports no other module. */

export { isTerminal } from './descriptor.ts';
export { escapeControls, escapeControlsInLines, escapeJson, hasControls, jsonText } from './escape.ts';
export { BROKEN_PIPE_EXIT_CODE, OutputLostError, systemReason } from './standard-output.ts';
export { standardError, standardOutput } from './standard-streams.ts';
