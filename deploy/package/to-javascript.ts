/**
 * Turns a source file of the program into JavaScript that Node runs below `node_modules`, where it strips no types. Node's own
 * type stripping is used, so that lines and columns stay. Relative paths that end in `.ts`, of imports and of worker threads alike, then
 * end in `.js`.
 */

import { stripTypeScriptTypes } from 'node:module';
import { parseAst } from 'rolldown/parseAst';

interface SyntaxNode {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [property: string]: unknown;
}

const RELATIVE_SOURCE = /^\.{1,2}\/.*\.ts$/;

/** `code` is TypeScript with erasable types only, or JavaScript. Throws when it cannot be parsed. */
export function toJavaScript(code: string): string {
  // A first line for the kernel is no JavaScript.
  const firstLine = /^#!.*\n/.exec(code)?.[0] ?? '';
  const stripped = stripTypeScriptTypes(code.slice(firstLine.length));
  const paths = literals(parseAst(stripped) as unknown as SyntaxNode).sort((a, b) => b.start - a.start);
  let out = stripped;
  for (const { start, end, value } of paths) {
    out = `${out.slice(0, start)}'${value.slice(0, -3)}.js'${out.slice(end)}`;
  }
  return firstLine + out;
}

function literals(root: SyntaxNode): { readonly start: number; readonly end: number; readonly value: string }[] {
  const found: { start: number; end: number; value: string }[] = [];
  const visit = (node: SyntaxNode) => {
    const { type, start, end, value } = node;
    if (type === 'Literal' && typeof value === 'string' && RELATIVE_SOURCE.test(value)) {
      found.push({ start, end, value });
    }
    for (const property of Object.values(node)) {
      for (const child of Array.isArray(property) ? property : [property]) {
        if (typeof child?.type === 'string') visit(child as SyntaxNode);
      }
    }
  };
  visit(root);
  return found;
}
