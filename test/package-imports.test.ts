/**
 * Imports from packages: the names exist under plain Node, and the package that imports them declares
 * them. A test runner and a bundler read CommonJS packages in their own ways, so that a name can be defined in tests and
 * undefined in the program.
 */

import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseAst } from 'rolldown/parseAst';
import { describe, expect, it } from 'vitest';
import { installed } from './fixtures/client-programs.ts';
import { sourceFiles } from './fixtures/source-files.ts';
import { outputOf } from './fixtures/started-processes.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const WORKSPACES = ['device-sdk', 'output', 'protocol', 'service-sdk'];

/** A name that a file reads from a package, such as `pg` `default` `Client`. */
interface Use {
  readonly file: string;
  readonly package: string;
  readonly path: readonly string[];
}

interface SyntaxNode {
  readonly type: string;
  readonly [property: string]: unknown;
}

/** The names that a file reads from packages, and the modules that it imports in any way. */
class FileImports {
  readonly uses: Use[] = [];
  readonly modules = new Set<string>();
  /** Packages whose names a dynamic import binds in a form that this class cannot read. */
  readonly unread: readonly string[];
  readonly #file: string;
  readonly #effects = new Set<string>();
  readonly #bound = new Map<string, Omit<Use, 'file'>>();

  constructor(file: string, code: string) {
    this.#file = file;
    const nodes = [...nodesOf(parseAst(code, { lang: 'ts' }) as unknown as SyntaxNode)];
    for (const node of nodes) this.#readImport(node);
    const bound = new Set([...this.#bound.values()].map((use) => use.package));
    this.unread = [...this.modules].filter((name) => isPackage(name) && !bound.has(name) && !this.#effects.has(name));
    for (const node of nodes) this.#readAlias(node);
    for (const node of nodes) this.#readMember(node);
  }

  #readImport(node: SyntaxNode): void {
    if (node.type === 'ImportDeclaration' || /^Export(Named|All)Declaration$/.test(node.type)) {
      if (node.source === null || (node.importKind ?? node.exportKind) === 'type') return;
      const from = (node.source as SyntaxNode).value as string;
      this.modules.add(from);
      if (node.type !== 'ImportDeclaration' || (node.specifiers as SyntaxNode[]).length === 0) this.#effects.add(from);
      for (const specifier of (node.specifiers ?? []) as SyntaxNode[]) {
        if (specifier.importKind !== 'type' && specifier.local) this.#bindSpecifier(specifier, from);
      }
    } else if (node.type === 'ImportExpression') {
      const from = (node.source as SyntaxNode).value;
      if (typeof from === 'string') this.modules.add(from);
    } else if (node.type === 'VariableDeclarator') {
      const from = importedBy(node.init as SyntaxNode | null);
      if (from !== undefined) this.#bindPattern(node.id as SyntaxNode, { package: from, path: [] });
    }
  }

  #bindSpecifier(specifier: SyntaxNode, from: string): void {
    const imported = specifier.imported as SyntaxNode | undefined;
    const path = specifier.type === 'ImportNamespaceSpecifier' ? [] : [(imported?.name as string) ?? 'default'];
    if (specifier.type.startsWith('Import')) this.#bind((specifier.local as SyntaxNode).name as string, from, path);
  }

  /** `const all = await import(...)`, or `const { one, other: local } = await import(...)`. */
  #bindPattern(pattern: SyntaxNode, from: Omit<Use, 'file'>): void {
    if (pattern.type === 'Identifier') this.#bind(pattern.name as string, from.package, from.path);
    for (const property of (pattern.properties ?? []) as SyntaxNode[]) {
      const name = (property.key as SyntaxNode).name as string;
      this.#bind((property.value as SyntaxNode).name as string, from.package, [...from.path, name]);
    }
  }

  #bind(local: string, from: string, path: readonly string[]): void {
    if (!isPackage(from)) return;
    this.#bound.set(local, { package: from, path });
    this.uses.push({ file: this.#file, package: from, path });
  }

  /** `const constants = all;`, or `{ constants: all }`, whose reader calls it by the name of the property. */
  #readAlias(node: SyntaxNode): void {
    if (node.type !== 'VariableDeclarator' && node.type !== 'Property') return;
    const [alias, value] = node.type === 'Property' ? [node.key, node.value] : [node.id, node.init];
    const from = this.#bound.get((value as SyntaxNode | null)?.name as string);
    if (from !== undefined) this.#bindPattern(alias as SyntaxNode, from);
  }

  #readMember(node: SyntaxNode): void {
    if (node.type !== 'MemberExpression' || node.computed === true) return;
    const from = this.#bound.get((node.object as SyntaxNode).name as string);
    if (from === undefined) return;
    const path = [...from.path, (node.property as SyntaxNode).name as string];
    this.uses.push({ file: this.#file, package: from.package, path });
  }
}

function* nodesOf(node: SyntaxNode): Generator<SyntaxNode> {
  yield node;
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) {
      if (typeof child?.type === 'string') yield* nodesOf(child as SyntaxNode);
    }
  }
}

/** The module that `await import('...')` names, also with `.catch(...)` behind it. */
function importedBy(init: SyntaxNode | null): string | undefined {
  const awaited = init?.type === 'AwaitExpression' ? (init.argument as SyntaxNode) : undefined;
  const callee = awaited?.type === 'CallExpression' ? (awaited.callee as SyntaxNode) : undefined;
  const expression = callee?.type === 'MemberExpression' ? (callee.object as SyntaxNode) : awaited;
  const source = expression?.type === 'ImportExpression' ? (expression.source as SyntaxNode) : undefined;
  return source?.value as string | undefined;
}

/** Whether it is a package: not a file, not part of Node, and not a workspace of this repository. */
function isPackage(name: string): boolean {
  return !/^(?:\.|node:|@rollcall\/)/.test(name);
}

/** `@scope/name/part` is a part of `@scope/name`. */
function packageName(name: string): string {
  return name
    .split('/')
    .slice(0, name.startsWith('@') ? 2 : 1)
    .join('/');
}

/** Resolves the paths under plain Node, and returns those that are undefined. */
const FIND_MISSING = `
  const { uses, modules } = JSON.parse(process.argv[1]);
  for (const name of modules) await import(name);
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

async function missing(uses: readonly Use[], modules: readonly string[] = []): Promise<readonly string[]> {
  const distinct = [...new Map(uses.map((use) => [`${use.package} ${use.path.join('.')}`, use])).values()];
  const args = ['--input-type=module', '--eval', FIND_MISSING, JSON.stringify({ uses: distinct, modules })];
  const options = { cwd: root, env: { PATH: process.env.PATH } };
  return JSON.parse(await outputOf(process.execPath, args, options)) as string[];
}

/** The program's own files. Only tests and builds load the others; the pages are bundled with what they import. */
const files = sourceFiles('.ts').filter(
  (path) =>
    !path.endsWith('.test.ts') &&
    !/^test\/|^deploy\/|^console\/web\/|^(device|service)-sdk\/(build|library)-package|^vitest\.config/.test(path),
);
const importsOf = new Map(files.map((file) => [file, new FileImports(file, readFileSync(join(root, file), 'utf8'))]));
const uses = [...importsOf.values()].flatMap((file) => file.uses);

describe('an import from a package', () => {
  it('is found in every form in which our files import', () => {
    const found = (name: string) => uses.filter((use) => use.package === name).map(({ path }) => path.join('.'));
    expect(found('pkcs11js')).toEqual(expect.arrayContaining(['default.PKCS11', 'default.CKF_SERIAL_SESSION']));
    expect(found('better-sqlite3')).toContain('default');
    expect(found('esbuild')).toContain('build');
    expect(found('zod')).toEqual(expect.arrayContaining(['z', 'z.strictObject']));
    expect(new Set(uses.map((use) => use.package)).size).toBeGreaterThan(10);
    expect([...importsOf].filter(([, { unread }]) => unread.length > 0)).toEqual([]);
  });

  it('is defined under plain Node, constants of CommonJS packages included', async () => {
    const isUsable = (name: string) => isPackage(name) && (name !== 'pkcs11js' || installed('pkcs11-addon'));
    const modules = new Set([...importsOf.values()].flatMap((file) => [...file.modules]).filter(isUsable));
    expect(
      await missing(
        uses.filter((use) => isUsable(use.package)),
        [...modules],
      ),
    ).toEqual([]);
  });

  it('is declared as a run-time dependency by the package that the file belongs to', () => {
    const declared = new Map(
      ['', ...WORKSPACES].map((folder) => {
        const manifest = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'));
        return [folder, Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies })];
      }),
    );
    const undeclared = [...importsOf].flatMap(([file, { modules }]) => {
      const folder = WORKSPACES.find((workspace) => file.startsWith(`${workspace}/`)) ?? '';
      const names = [...modules].filter((name) => !/^(?:\.|node:)/.test(name)).map(packageName);
      return names.filter((name) => !declared.get(folder)?.includes(name)).map((name) => `${file}: ${name}`);
    });
    expect(undeclared).toEqual([]);
  });

  it('is never a file outside the package root of a workspace', () => {
    const outside = [...importsOf].flatMap(([file, { modules }]) => {
      const folder = WORKSPACES.find((workspace) => file.startsWith(`${workspace}/`));
      const relative = [...modules].filter((name) => folder !== undefined && name.startsWith('.'));
      return relative
        .filter((name) => !join(dirname(file), name).startsWith(`${folder}/`))
        .map((name) => `${file}: ${name}`);
    });
    expect(outside).toEqual([]);
  });

  it.runIf(installed('pkcs11-addon'))(
    'is reported where plain Node has the constants of a package below default',
    async () => {
      const code = 'const all = await import("pkcs11js");\nconst constants = all;\nconstants.CKF_SERIAL_SESSION;\n';
      expect(await missing(new FileImports('example.ts', code).uses)).toEqual([
        'example.ts: pkcs11js.CKF_SERIAL_SESSION',
      ]);
    },
  );

  it('is reported when it is undefined under plain Node', async () => {
    expect(await missing(new FileImports('example.ts', 'import { nothing } from "pino";\n').uses)).toEqual([
      'example.ts: pino.nothing',
    ]);
  });
});
