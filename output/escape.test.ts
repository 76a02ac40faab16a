import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { escapeControls, escapeControlsInLines, escapeJson, hasControls, jsonText } from './escape.ts';

const between = (first: number, last: number) =>
  Array.from({ length: last - first + 1 }, (_, index) => String.fromCharCode(first + index));

/** Listed by code point, apart from the pattern that is tested. */
const CONTROLS = [
  ...between(0x00, 0x1f),
  ...between(0x7f, 0x9f),
  '\u061c',
  ...between(0x200e, 0x200f),
  ...between(0x2028, 0x202e),
  ...between(0x2066, 0x2069),
];

describe('the escaping of output', () => {
  it('leaves none of the control characters, separators and direction controls in text or JSON', () => {
    for (const control of CONTROLS) {
      const code = control.charCodeAt(0).toString(16).padStart(4, '0');
      expect(hasControls(control), code).toBe(true);
      expect(escapeControls(`a${control}b`), code).toMatch(/^a\\(x[0-9a-f]{2}|u[0-9a-f]{4})b$/);
      expect(jsonText({ [control]: [control] }), code).toMatch(/^[ -~]+$/);
    }
  });

  it('leaves all other text as it is', () => {
    const text = 'Zürich 21.5 °C, 温度, emoji 🌡️, a no-break space\u00a0and a soft hyphen\u00ad';
    expect(escapeControls(text)).toBe(text);
    expect(jsonText(text)).toBe(JSON.stringify(text));
    expect(escapeControlsInLines('one\ntwo\tthree')).toBe('one\ntwo\\x09three');
  });

  it('keeps the value of any JSON', () => {
    const text = fc.string({
      unit: fc.oneof(fc.string({ unit: 'binary', minLength: 1 }), fc.constantFrom(...CONTROLS)),
    });
    fc.assert(
      fc.property(fc.dictionary(text, text), (value) => {
        const written = jsonText(value);
        expect(JSON.parse(written)).toEqual(JSON.parse(JSON.stringify(value)));
        expect(escapeJson(written)).toBe(written);
        expect(hasControls(written)).toBe(false);
      }),
    );
  });
});
