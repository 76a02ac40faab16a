import { expect, it } from 'vitest';
import { toJavaScript } from './to-javascript.ts';

it('types become spaces, so that a stack trace names the line and column of the source', () => {
  const code = "const port: number = 1;\nthrow new Error('here');\n";
  const lines = toJavaScript(code).split('\n');
  expect(lines[0]).toBe('const port         = 1;');
  expect(lines[1]).toBe("throw new Error('here');");
});

it('relative paths of imports and of worker threads name the JavaScript file, and packages stay', () => {
  expect(
    toJavaScript(
      [
        "import { a, type B } from '../first.ts';",
        "export { c } from './second.ts';",
        "import '@rollcall/protocol';",
        "const third = await import('./third.ts');",
        "new Worker(new URL(third ? './fourth.ts' : '../fifth.js', import.meta.url));",
      ].join('\n'),
    ).replaceAll(/ {2,}/g, ' '),
  ).toBe(
    [
      "import { a, } from '../first.js';",
      "export { c } from './second.js';",
      "import '@rollcall/protocol';",
      "const third = await import('./third.js');",
      "new Worker(new URL(third ? './fourth.js' : '../fifth.js', import.meta.url));",
    ].join('\n'),
  );
});

it('the first line of an executable file stays', () => {
  expect(toJavaScript("#!/usr/bin/env node\nawait import('../cli/main.ts');\n")).toBe(
    "#!/usr/bin/env node\nawait import('../cli/main.js');\n",
  );
});
