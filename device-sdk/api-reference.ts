/**
 * Writes the reference of the SDK, docs/sdk-api.md, from the docstrings of what index.ts exports. It reads the sources as
 * text and relies on their formatting: declarations begin a line, and end with a brace or a semicolon of their own.
 *
 *     node bin/pinned.js device-sdk/api-reference.ts
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const source = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8');
const REFERENCE = fileURLToPath(new URL('../docs/sdk-api.md', import.meta.url));

const DOC = /((?:^ *\/\*\*(?:(?!\*\/)[\s\S])*\*\/\n)?)/.source;
const HEAD = `# Device SDK: reference

Written from the docstrings by \`node bin/pinned.js device-sdk/api-reference.ts\`; [how to use it](../device-sdk/README.md) is a
page of its own.
`;

interface Exported {
  readonly name: string;
  readonly path: string;
}

/** What index.ts exports, in order of name. */
function exportsOf(index: string): readonly Exported[] {
  const found = [...index.matchAll(/^export (?:type )?\{([^}]+)\} from '([^']+)';/gm)].flatMap(([, names, path]) =>
    (names as string)
      .split(',')
      .map((name) => name.replace('type ', '').trim())
      .filter((name) => name !== '')
      .map((name) => ({ name, path: path as string })),
  );
  return found.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** `## name`, what its docstring says, and its declaration. Throws for an export that can't be found. */
function section({ name, path }: Exported): string {
  const text = source(path);
  const declaration = new RegExp(`${DOC}^export (?:async )?(class|interface|type|function|const) ${name}\\b`, 'm').exec(
    text,
  );
  if (declaration === null) throw new Error(`expected a declaration of ${name} in ${path}`);
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
export function writeReference(): string {
  return `${[HEAD, ...exportsOf(source('index.ts')).map(section)].join('\n').trimEnd()}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(REFERENCE, writeReference());
