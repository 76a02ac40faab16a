/** Rules of generators that no compiler checks: steps that nobody has done are lost without an error. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { sourceFiles } from '../test/fixtures/source-files.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const files = sourceFiles('.ts')
  // The engines do the steps themselves.
  .filter((path) => /^registry\/(?!postgres|sqlite)/.test(path) && !path.endsWith('.test.ts'))
  .map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }));

/** A function of which the result is the steps of a transaction. */
const DECLARATION = /function\* (\w+)(?:<[^(]*>)?\(\s*tx: Transaction/g;
/** Has the steps done, or passes them on whole: as the body of a transaction, or as what is to be done before the commit. */
const DONE = /(?:yield\* |\(tx\) => |\(\) => |function\* )$/;

function stepsNotDone(text: string, names: readonly string[]): readonly string[] {
  const call = new RegExp(
    String.raw`\b(?:tx\s*\.(?:get|all|run|runEach|lock)\b|(?:${names.join('|')})(?:<[^(]*>)?\(\s*tx\b)`,
    'g',
  );
  return [...text.matchAll(call)]
    .filter(({ index }) => !DONE.test(text.slice(0, index).replace(/\s+$/, ' ')))
    .map(({ index }) => text.slice(index, text.indexOf('\n', index)));
}

it('each statement and each part of a transaction of the registry is done by yield*', () => {
  for (const { path, text } of files) {
    const names = [...text.matchAll(DECLARATION)].map(([, name]) => name as string);
    const imported = files.flatMap((file) =>
      file.path === path ? [] : [...file.text.matchAll(DECLARATION)].map(([, name]) => name as string),
    );
    const inScope = imported.filter((name) =>
      new RegExp(String.raw`import \{[^}]*\b${name}\b[^}]*\} from '\.`).test(text),
    );
    expect(stepsNotDone(text, [...names, ...inScope, 'never']), path).toEqual([]);
  }
});

it('a call of a part of a transaction without yield* is found', () => {
  expect(stepsNotDone('function* f(tx: Transaction) {\n  g(tx, 1);\n  yield* g(tx, 2);\n}\n', ['f', 'g'])).toEqual([
    'g(tx, 1);',
  ]);
  expect(stepsNotDone("  const row = tx.get('SELECT 1', {});\n", ['f'])).toEqual(["tx.get('SELECT 1', {});"]);
});
