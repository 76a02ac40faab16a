/**
 * What our files import of packages, asked of plain Node. A test runner and a bundler read CommonJS packages in their
 * own ways, so that a name can be defined in tests and undefined in the program.
 */

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { transform } from 'esbuild';
import { beforeAll, describe, expect, it } from 'vitest';
import { installed } from './fixtures/client-programs.ts';
import { sourceFiles } from './fixtures/source-files.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

/** A name that a file reads from a package: `pg` `default` `Client`. */
interface Use {
  readonly file: string;
  readonly package: string;
  readonly path: readonly string[];
}

const PACKAGE = /^(?!\.|node:)(?:@[a-z0-9-]+\/)?[a-z0-9][a-z0-9._-]*(?:\/.*)?$/;
const STATIC = /^import (?:([\w$]+)(?:, )?)?(?:\* as ([\w$]+))?(?:\{([^}]*)\})? ?from "([^"]+)";$/gm;
const EFFECT = /^import "([^"]+)";$/gm;
const DYNAMIC = /(?:(?:const|let) (?:([\w$]+)|\{([^}]*)\}) = await )?import\(\s*"([^"]+)"\s*\)/g;

/** In JavaScript as esbuild writes it: without types and comments, one import a line. */
function usesIn(file: string, code: string): readonly Use[] {
  const uses: Use[] = [];
  const bind = (name: string, from: string, path: readonly string[]): void => {
    uses.push({ file, package: from, path });
    for (const [, member] of code.matchAll(new RegExp(`(?<![\\w$.#])${escaped(name)}\\.([\\w$]+)`, 'g'))) {
      uses.push({ file, package: from, path: [...path, member as string] });
    }
    for (const [, alias] of code.matchAll(new RegExp(`const ([\\w$]+) = ${escaped(name)};`, 'g'))) {
      bind(alias as string, from, path);
    }
  };
  const bindNames = (names: string, from: string): void => {
    for (const part of names.split(',').map((text) => text.trim())) {
      const [imported, local] = part.split(/ as |: /);
      if (imported) bind(local ?? imported, from, [imported]);
    }
  };
  for (const [, byDefault, all, names, from = ''] of code.matchAll(STATIC)) {
    if (!PACKAGE.test(from) || from.startsWith('@rollcall/')) continue;
    if (byDefault !== undefined) bind(byDefault, from, ['default']);
    if (all !== undefined) bind(all, from, []);
    if (names !== undefined) bindNames(names, from);
  }
  for (const [, all, names, from = ''] of code.matchAll(DYNAMIC)) {
    if (!PACKAGE.test(from) || from.startsWith('@rollcall/')) continue;
    // A form that this test can't read would be a name that nobody checks.
    if (all === undefined && names === undefined) uses.push({ file, package: from, path: ['expected const = await'] });
    if (all !== undefined) bind(all, from, []);
    if (names !== undefined) bindNames(names, from);
  }
  return uses;
}

function escaped(name: string): string {
  return name.replaceAll('$', '\\$');
}

/** Packages that files load for their effect alone; those that need it fail without. */
function effectsIn(code: string): readonly string[] {
  return [...code.matchAll(EFFECT)].map(([, name = '']) => name).filter((name) => PACKAGE.test(name));
}

/** Runs under plain Node: which of the paths lead to nothing. */
const ASK = `
  const { uses, effects } = JSON.parse(process.argv[1]);
  for (const name of effects) await import(name);
  const missing = [];
  for (const { file, package: name, path } of uses) {
    let found;
    try { found = await import(name); } catch (error) { missing.push(file + ': ' + name + ' cannot be loaded: ' + error.message.split('\\n')[0]); continue; }
    let parent;
    for (const part of path) { parent = found; found = found?.[part]; }
    const isThere = path.length === 0 || found !== undefined || Object.hasOwn(Object(parent), path.at(-1));
    if (!isThere) missing.push(file + ': ' + [name, ...path].join('.'));
  }
  process.stdout.write(JSON.stringify(missing));
`;

async function missing(uses: readonly Use[]): Promise<readonly string[]> {
  const distinct = [...new Map(uses.map((use) => [`${use.package} ${use.path.join('.')}`, use])).values()];
  const args = ['--input-type=module', '--eval', ASK, JSON.stringify({ uses: distinct, effects })];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: root, env: { PATH: process.env.PATH } });
  return JSON.parse(stdout) as string[];
}

/** The program's own files; what only tests and builds import runs elsewhere. */
const files = sourceFiles('.ts').filter(
  (path) => !path.endsWith('.test.ts') && !/^test\/|^device-sdk\/build-package|^vitest\.config/.test(path),
);

let uses: readonly Use[];
let effects: readonly string[];
beforeAll(async () => {
  const read = files.map(async (file) => {
    const text = readFileSync(`${root}/${file}`, 'utf8');
    const { code } = await transform(text, { loader: 'ts', target: 'esnext', tsconfigRaw: VERBATIM });
    return { uses: usesIn(file, code), effects: effectsIn(code) };
  });
  const found = await Promise.all(read);
  uses = found.flatMap((each) => each.uses);
  effects = [...new Set(found.flatMap((each) => each.effects))];
});
const VERBATIM = { compilerOptions: { verbatimModuleSyntax: true } } as const;

describe('what the program imports of packages', () => {
  it('is found in every form in which our files import', () => {
    const found = (name: string) => uses.filter((use) => use.package === name).map(({ path }) => path.join('.'));
    expect(found('pkcs11js')).toEqual(expect.arrayContaining(['default.PKCS11', 'default.CKF_SERIAL_SESSION']));
    expect(found('better-sqlite3')).toContain('default');
    expect(found('zod')).toEqual(expect.arrayContaining(['z', 'z.strictObject']));
    expect(new Set(uses.map((use) => use.package)).size).toBeGreaterThan(10);
  });

  it('is defined under plain Node, constants of CommonJS packages included', async () => {
    const hasAddon = installed('pkcs11-addon');
    expect(await missing(uses.filter((use) => hasAddon || use.package !== 'pkcs11js'))).toEqual([]);
  });

  it.runIf(installed('pkcs11-addon'))(
    'is missed where plain Node has the constants of a package below default',
    async () => {
      const code = 'const all = await import("pkcs11js");\nconst constants = all;\nconstants.CKF_SERIAL_SESSION;\n';
      expect(await missing(usesIn('example.ts', code))).toEqual(['example.ts: pkcs11js.CKF_SERIAL_SESSION']);
    },
  );

  it('is missed where plain Node does not have it', async () => {
    expect(await missing(usesIn('example.ts', 'import { nothing } from "pino";\n'))).toEqual([
      'example.ts: pino.nothing',
    ]);
  });
});
