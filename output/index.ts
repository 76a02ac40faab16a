/** Output of a program: escapes control characters, never waits for a stream that cannot be written, finds the word that was meant. Imports no other module. */

export { closestWord } from './closest-word.ts';
export { isTerminal } from './descriptor.ts';
export { escapeControls, escapeControlsInLines, escapeJson, hasControls, jsonText } from './escape.ts';
export { BROKEN_PIPE_EXIT_CODE, OutputLostError, systemReason } from './standard-output.ts';
export { standardError, standardOutput } from './standard-streams.ts';
