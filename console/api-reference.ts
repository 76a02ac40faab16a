/**
 * Writes docs/api-reference.md, the reference of the HTTP API, from its OpenAPI document. `api-reference.test.ts` compares the page with
 * what a console answers, and writes it after a change of the API:
 *
 *     npx vitest run console/api-reference.test.ts -u
 */

import { type JsonSchema, typeText } from './json-schema-text.ts';

interface Content {
  readonly content?: Readonly<Record<string, { readonly schema: JsonSchema }>>;
}

interface Operation {
  readonly summary: string;
  readonly description?: string;
  readonly parameters?: readonly {
    readonly name: string;
    readonly in: string;
    readonly required?: boolean;
    readonly description?: string;
    readonly schema: JsonSchema;
  }[];
  readonly requestBody?: Content;
  readonly responses: Readonly<Record<string, Content>>;
}

export interface OpenApiDocument {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
}

const HEAD = `# HTTP API: reference

Written from \`/openapi.json\` by \`npx vitest run console/api-reference.test.ts -u\`. [api.md](api.md) explains what all requests have in
common: authentication, errors, pages, limits and streams. A request without a sentence about its role needs no key. Every request may be
answered with a problem of [errors.md](errors.md). A field with \`?\` may be absent; \`[]\` stands for each item of a list, and \`*\` for each
name. Every request that changes something takes the header \`Idempotency-Key\` ([api.md](api.md#acts-that-happen-once)); the tables leave it out.
`;

const METHODS = ['get', 'post', 'put', 'patch', 'delete'] as const;

export function writeApiReference({ paths }: OpenApiDocument): string {
  const sections = new Map<string, string[]>();
  for (const path of Object.keys(paths).sort()) {
    const title = sectionOf(path);
    const written = METHODS.flatMap((method) => {
      const operation = paths[path]?.[method];
      return operation === undefined ? [] : [operationText(`${method.toUpperCase()} ${path}`, operation)];
    });
    sections.set(title, [...(sections.get(title) ?? []), ...written]);
  }
  const texts = [...sections].map(([title, operations]) => `## ${title}\n\n${operations.join('\n')}`);
  return [HEAD, ...texts].join('\n');
}

/** Paths with one request, about the server or its caller. */
const ABOUT_SERVER: ReadonlySet<string> = new Set(['doctor', 'health', 'trust-bundle', 'whoami']);

/** `/v1/operator-keys/{id}` is in `Operator keys`. Paths without a version are in `Server`. */
function sectionOf(path: string): string {
  const name = /^\/v1\/([a-z-]+)(?:\/|$)/.exec(path)?.[1] ?? 'server';
  if (name === 'ca') return 'CAs';
  return ABOUT_SERVER.has(name) ? 'Server' : capitalized(name.replaceAll('-', ' '));
}

function capitalized(text: string): string {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}`;
}

function operationText(
  title: string,
  { summary, description = '', parameters, requestBody, responses }: Operation,
): string {
  const own = (parameters ?? []).filter(({ name }) => name !== 'idempotency-key');
  const answer = Object.entries(responses['200']?.content ?? {})[0];
  const parts = [
    `### ${title}`,
    `${markdown(capitalized(summary))}. ${description}`.trim(),
    ...(own.length > 0 ? [parameterTable(own)] : []),
    ...bodyText('Body', Object.entries(requestBody?.content ?? {})[0]),
    ...bodyText('Answer', answer),
  ];
  return `${parts.join('\n\n')}\n`;
}

const isInPath = ({ in: place }: { readonly in: string }): boolean => place === 'path';

function parameterTable(parameters: NonNullable<Operation['parameters']>): string {
  return table(
    ['parameter', 'in', 'type', 'meaning'],
    [...parameters.filter(isInPath), ...parameters.filter((each) => !isInPath(each))].map(
      ({ name, in: place, required, description, schema }) => [
        `\`${name}${required ? '' : '?'}\``,
        place,
        typeText(schema),
        markdown(description ?? schema.description ?? ''),
      ],
    ),
  );
}

function bodyText(
  title: string,
  content: readonly [string, { readonly schema: JsonSchema }] | undefined,
): readonly string[] {
  if (content === undefined) return [];
  const [mediaType, { schema }] = content;
  const rows = fieldRows(schema, '');
  if (title === 'Body' && rows.length === 0 && schema.type === 'object' && !schema.additionalProperties) return [];
  const what =
    schema.description === undefined ? typeText(schema) : `${typeText(schema)}: ${markdown(schema.description)}`;
  const line = `${title}: \`${mediaType}\`, ${what}.`;
  return rows.length === 0 ? [line] : [line, table(['field', 'type', 'meaning'], rows)];
}

/** A row for each field, and for each field within it. */
function fieldRows(schema: JsonSchema, prefix: string): readonly (readonly string[])[] {
  if (schema.items !== undefined) return fieldRows(schema.items, `${prefix}[]`);
  const alternatives = schema.anyOf ?? schema.oneOf ?? schema.allOf;
  if (alternatives !== undefined) return alternatives.flatMap((each) => fieldRows(each, prefix));
  const named = Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const path = prefix === '' ? name : `${prefix}.${name}`;
    const isOptional = schema.required?.includes(name) !== true;
    const row = [`\`${path}${isOptional ? '?' : ''}\``, typeText(field), markdown(field.description ?? '')];
    return [row, ...fieldRows(field, path)];
  });
  const { additionalProperties: others } = schema;
  return typeof others === 'object' ? [...named, ...fieldRows(others, prefix === '' ? '*' : `${prefix}.*`)] : named;
}

function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(headings), line(headings.map(() => '---')), ...rows.map(line)].join('\n');
}

function markdown(text: string): string {
  return text.replace(/[|*<]/g, '\\$&').replaceAll('\n', ' ');
}
