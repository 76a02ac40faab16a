/**
 * Writes the references of the SDKs, docs/sdk-api.md and docs/service-sdk-api.md, from the docstrings of what their index.ts exports. It reads the sources as
 * text and relies on their formatting: declarations begin a line, and end with a brace or a semicolon of their own.
 *
 *     node bin/pinned.js device-sdk/api-reference.ts
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const source = (path: string | URL) => readFileSync(new URL(path, import.meta.url), 'utf8');

const DOC = /((?:^ *\/\*\*(?:(?!\*\/)[\s\S])*\*\/\n)?)/.source;

interface Sdk {
  readonly title: string;
  readonly folder: 'device-sdk' | 'service-sdk';
  /** The page, in docs/. */
  readonly page: string;
}

export const SDKS: readonly Sdk[] = [
  { title: 'Device SDK', folder: 'device-sdk', page: 'sdk-api.md' },
  { title: 'Service SDK', folder: 'service-sdk', page: 'service-sdk-api.md' },
];

const head = ({ title, folder }: Sdk) => `# ${title}: reference

Written from the docstrings by \`node bin/pinned.js device-sdk/api-reference.ts\`; [how to use it](../${folder}/README.md) is a
page of its own.
`;

interface Exported {
  readonly name: string;
  /** The file that declares it. */
  readonly file: URL;
}

/** What an entry file exports, in order of name. Follows names of another package through the entry of that package. */
function exportsOf(entry: URL): readonly Exported[] {
  const found = [...source(entry).matchAll(/^export (?:type )?\{([^}]+)\} from '([^']+)';/gm)].flatMap(
    ([, list = '', from = '']) => {
      const names = list.split(',').map((name) => name.replace('type ', '').trim());
      const file = from.startsWith('.') ? new URL(from, entry) : undefined;
      const origin = file === undefined ? exportsOf(new URL(import.meta.resolve(from))) : [];
      return names
        .filter((name) => name !== '')
        .map((name) => (file === undefined ? declarationOf(name, origin) : { name, file }));
    },
  );
  return found.sort((a, b) => (a.name < b.name ? -1 : 1));
}

function declarationOf(name: string, origin: readonly Exported[]): Exported {
  const found = origin.find((exported) => exported.name === name);
  if (found === undefined) throw new Error(`expected an export ${name} of another package`);
  return found;
}

/** `## name`, what its docstring says, and its declaration. Throws for an export that can't be found. */
function section({ name, file }: Exported): string {
  const text = source(file);
  const declaration = new RegExp(`${DOC}^export (?:async )?(class|interface|type|function|const) ${name}\\b`, 'm').exec(
    text,
  );
  if (declaration === null) throw new Error(`expected a declaration of ${name} in ${file.pathname}`);
  const [all, doc, kind] = declaration as unknown as [string, string, string];
  const from = declaration.index + doc.length;
  const rest = text.slice(from).replace(/^export (async )?/, '');
  if (all === '') throw new Error(`expected text for ${name}`);
  const body = kind === 'class' ? publicMembers(rest) : `\`\`\`ts\n${declared(kind, rest)}\n\`\`\`\n`;
  return `## ${name}\n\n${prose(doc)}${body}`;
}

function declared(kind: string, rest: string): string {
  if (kind === 'interface') return rest.slice(0, rest.indexOf('\n}') + 2);
  if (kind === 'function') return `${rest.slice(0, rest.search(/ \{\n/))};`;
  if (kind === 'const') return `${rest.slice(0, rest.search(/;\n/))};`;
  return rest.slice(0, rest.search(/;\n(\n|$)/) + 1);
}

/** The members of a class that are neither private nor its constructor, each with what its docstring says. */
function publicMembers(rest: string): string {
  const lines = rest.slice(0, rest.indexOf('\n}\n')).split('\n').slice(1);
  const members: string[] = [];
  for (let at = 0, doc = ''; at < lines.length; at += 1) {
    const line = lines[at] as string;
    if (/^ {2}\/\*\*/.test(line)) {
      const first = at;
      while (!(lines[at] as string).includes('*/')) at += 1;
      doc = lines.slice(first, at + 1).join('\n');
    } else if (/^ {2}(?!private|constructor|readonly #|static #|async #|get #|#)[a-z]/.test(line)) {
      const first = at;
      while (!/[{;]$/.test(lines[at] as string)) at += 1;
      const signature = lines
        .slice(first, at + 1)
        .map((text) => text.slice(2))
        .join('\n')
        .replace(/ ?[{;]$/, '');
      members.push(`\`\`\`ts\n${signature}\n\`\`\`\n\n${prose(doc)}`);
      doc = '';
    } else if (line.trim() !== '') {
      doc = '';
    }
  }
  return members.join('');
}

/** A docstring as Markdown, with an empty line behind it. */
function prose(doc: string): string {
  const text = doc
    .replace(/^ *\/\*\* ?/, '')
    .replace(/ *\*\/\s*$/, '')
    .replace(/^ *\* ?/gm, '')
    .replace(/\{@link ([^}]+)\}/g, '`$1`')
    .trim();
  return text === '' ? '' : `${text}\n\n`;
}

/** The whole page. */
export function writeReference(sdk: Sdk): string {
  const entry = new URL(`../${sdk.folder}/index.ts`, import.meta.url);
  return `${[head(sdk), ...exportsOf(entry).map(section)].join('\n').trimEnd()}\n`;
}

export const pageOf = ({ page }: Sdk) => fileURLToPath(new URL(`../docs/${page}`, import.meta.url));

if (process.argv[1] === fileURLToPath(import.meta.url))
  for (const sdk of SDKS) writeFileSync(pageOf(sdk), writeReference(sdk));
