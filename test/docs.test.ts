/** The files, folders, links and anchors in the pages exist, and the table of modules equals the one of biome.json. */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (page: string) => readFileSync(join(root, page), 'utf8');

const pagesIn = (folder: string) =>
  readdirSync(join(root, folder))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `${folder}/${name}`);
const FRONT_PAGES = ['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md', 'SECURITY.md'];
const PAGES = [
  ...FRONT_PAGES,
  'CHANGELOG.md',
  'device-sdk/README.md',
  'service-sdk/README.md',
  ...pagesIn('docs'),
  ...pagesIn('docs/decisions'),
];

/** Paths in code quotes that have a slash and an extension. */
function quotedFiles(text: string): readonly string[] {
  return [...text.matchAll(/`([a-z][\w.-]*\/[\w./-]*\.(?:ts|md|js|sql|py))`/g)].map((match) => match[1] as string);
}

/** Paths in code quotes that end in a slash. */
function quotedFolders(text: string): readonly string[] {
  return [...text.matchAll(/`([a-z][\w.-]*\/(?:[\w./-]*\/)?)`/g)].map((match) => match[1] as string);
}

/** The path and the anchor of each link to a file of the repository. */
function links(text: string): readonly { readonly path: string; readonly anchor: string | undefined }[] {
  return [...text.matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)/g)].map(([, path = '', anchor]) => ({
    path,
    anchor,
  }));
}

/** The anchors that GitHub gives to the headings of a page. */
function anchors(text: string): readonly string[] {
  return [...text.replace(/^```.*?^```/gms, '').matchAll(/^#+ (.*)$/gm)].map((match) =>
    (match[1] as string)
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replace(/\s/g, '-'),
  );
}

describe.each(PAGES)('%s', (page) => {
  const text = read(page);

  // The changelog also names files that were removed.
  it.skipIf(page === 'CHANGELOG.md')('quotes only files that exist', () => {
    const within = ['', ...['device-sdk/', 'service-sdk/'].filter((folder) => page.startsWith(folder))];
    const missing = quotedFiles(text).filter((path) => !within.some((folder) => existsSync(join(root, folder, path))));
    expect(missing).toEqual([]);
  });

  it.skipIf(page === 'CHANGELOG.md')('uses no word that the glossary replaces for persons', () => {
    expect(text.match(/\b[Ww]ho(?:so)?ever\b/g)).toBeNull();
  });

  it('links only to files and headings that exist', () => {
    const wrong = links(text).filter(({ path, anchor }) => {
      const target = path === '' ? page : join(dirname(page), path);
      if (!existsSync(join(root, target))) return true;
      return anchor !== undefined && target.endsWith('.md') && !anchors(read(target)).includes(anchor);
    });
    expect(wrong).toEqual([]);
  });
});

it('no page redirects a token into a file, which others could read', () => {
  const redirecting = PAGES.filter((page) => /rollcall token create[^\n`]*(?<![<=-])> *[\w./]/.test(read(page)));
  expect(redirecting).toEqual([]);
});

it('the pages name only metrics that docs/metrics.md lists', () => {
  const listed = new Set(read('docs/metrics.md').match(/rollcall_[a-z0-9_]+/g));
  const named = PAGES.filter((page) => page !== 'CHANGELOG.md').flatMap((page) =>
    [...read(page).matchAll(/`(rollcall_[a-z0-9_]+)[`{]/g)].map((match) => match[1] as string),
  );
  expect(named.length).toBeGreaterThan(50);
  expect(named.filter((name) => !listed.has(name))).toEqual([]);
});

it.each(FRONT_PAGES)('%s quotes only folders that exist', (page) => {
  const missing = quotedFolders(read(page)).filter(
    (path) => !existsSync(join(root, path)) && !path.startsWith('data/'),
  );
  expect(missing).toEqual([]);
});

interface Override {
  readonly includes: readonly string[];
  readonly linter: { readonly rules: { readonly style?: { readonly noRestrictedImports?: Restriction } } };
}
interface Restriction {
  readonly options: { readonly patterns: readonly { readonly message: string }[] };
}

/** The modules that each module may import, according to biome.json. */
function importsThatBiomeAllows(): ReadonlyMap<string, readonly string[]> {
  const { overrides } = JSON.parse(read('biome.json')) as { readonly overrides: readonly Override[] };
  const restricted = overrides.flatMap(({ includes, linter }) => {
    const restriction = linter.rules.style?.noRestrictedImports;
    return restriction === undefined ? [] : [{ module: includes[0]?.split('/')[0] ?? '', restriction }];
  });
  const modules = restricted.map(({ module }) => module);
  return new Map(
    restricted.map(({ module, restriction }) => {
      const refused = restriction.options.patterns.map(({ message }) => / may not import (.+)\.$/.exec(message)?.[1]);
      return [module, modules.filter((other) => other !== module && !refused.includes(other))] as const;
    }),
  );
}

describe('ARCHITECTURE.md', () => {
  const rows = [
    ...read('ARCHITECTURE.md').matchAll(/^\| `([a-z-]+)\/` \| .* \| ([^|]+) \|$/gm),
  ] as unknown as readonly [string, string, string][];
  const table = new Map(rows.map(([, module, allowed]) => [module, allowed === 'nothing' ? [] : allowed.split(', ')]));

  it('has the table of modules that biome.json enforces', () => {
    const sorted = (modules: ReadonlyMap<string, readonly string[]>) =>
      Object.fromEntries([...modules].map(([module, allowed]) => [module, [...allowed].sort()]));
    expect(sorted(table)).toEqual(sorted(importsThatBiomeAllows()));
  });

  it('describes each path in fewer than ten files', () => {
    const paths = read('ARCHITECTURE.md')
      .split(/^## /m)
      .filter((section) => section.startsWith('The path of'));
    expect(paths.length).toBeGreaterThan(4);
    for (const section of paths) {
      const list = /^1\. (.|\n(?!\n))*/m.exec(section)?.[0] ?? '';
      const files = new Set(quotedFiles(list));
      expect(files.size, section.slice(0, 40)).toBeGreaterThan(3);
      expect(files.size, section.slice(0, 40)).toBeLessThan(10);
    }
  });

  it('says what each folder inside a module is for', () => {
    const inside = [...table.keys()].flatMap((module) =>
      readdirSync(join(root, module), { withFileTypes: true, recursive: true })
        .filter((entry) => entry.isFile() && entry.name.endsWith('.ts') && !entry.parentPath.includes('node_modules'))
        .map((entry) => relative(root, entry.parentPath)),
    );
    const folders = new Set(inside.filter((path) => path.split('/').length === 2 && !path.endsWith('/dist')));
    expect([...folders].filter((folder) => !read('ARCHITECTURE.md').includes(`\`${folder}/\``)).sort()).toEqual([]);
  });

  it('has a row for each folder of sources', () => {
    const folders = readdirSync(root, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && !/^(\.|node_modules$|bin$|docs$|test$|data$)/.test(entry.name))
      .map((entry) => entry.name);
    expect([...table.keys()].sort()).toEqual(folders.sort());
  });
});
