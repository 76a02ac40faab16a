/**
 * Escapes characters that a terminal, a log viewer or an editor interprets: control characters (C0, DEL, C1), line and
 * paragraph separators, and bidirectional controls. All output for people and machines passes through here.
 */

/** Characters that JSON.stringify does not escape, although a terminal interprets them. */
const LEFT_BY_JSON = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/;
const ALL_LEFT_BY_JSON = new RegExp(LEFT_BY_JSON, 'g');

// biome-ignore lint/suspicious/noControlCharactersInRegex: the expression finds control characters
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/;
const ALL_CONTROLS = new RegExp(CONTROL, 'g');

/** Whether text contains a character that a terminal interprets. */
export function hasControls(text: string): boolean {
  return CONTROL.test(text);
}

/** Text on one line with every control character escaped: `\x1b`, `\u202e`. */
export function escapeControls(text: string): string {
  return CONTROL.test(text) ? text.replace(ALL_CONTROLS, visibleControl) : text;
}

/** The same for text of several lines: line feeds stay. */
export function escapeControlsInLines(text: string): string {
  return text.split('\n').map(escapeControls).join('\n');
}

function visibleControl(character: string): string {
  const code = character.charCodeAt(0);
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : unicodeEscape(character);
}

/** JSON text with the same value and no control in it. `text` is what JSON.stringify wrote. */
export function escapeJson(text: string): string {
  return LEFT_BY_JSON.test(text) ? text.replace(ALL_LEFT_BY_JSON, unicodeEscape) : text;
}

/** JSON of a value, with no control in it. */
export function jsonText(value: unknown, indent?: number): string {
  return escapeJson(JSON.stringify(value, null, indent));
}

function unicodeEscape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
