/** A table of the registry that both engines have, as it is copied from one to the other: its columns, its key and its pages. */

import type { SqlValue } from '../transaction.ts';

export interface CopiedTable {
  readonly name: string;
  /** Without generated ones. */
  readonly columns: readonly string[];
  /** Columns of the primary key. */
  readonly key: readonly string[];
  /** The column that refers to a row of the same table. */
  readonly parent: string | undefined;
}

export type CopiedRow = Readonly<Record<string, SqlValue>>;

/** `references`: a row comes after the one that its parent column names. */
export type CopyOrder = 'key' | 'references';

/** Asks one engine. Values stand for `?` in their order. */
export type AskRows = (
  sql: string,
  values: readonly SqlValue[],
) => Promise<readonly CopiedRow[]> | readonly CopiedRow[];

/** Rows in one statement: some hundred kilobytes of certificates. */
export const ROWS_AT_ONCE = 500;

/** The order in which certificates were issued within a millisecond: SQLite has it without a name in its schema. */
export const ISSUE_ORDER = 'rowid';

/** All rows, in pages. */
export async function* pagesOf(
  table: CopiedTable,
  ask: AskRows,
  order: CopyOrder,
): AsyncGenerator<readonly CopiedRow[]> {
  const { parent } = table;
  if (order === 'key' || parent === undefined) {
    yield* pagesWhere(table, ask, { key: table.key });
    return;
  }
  const key = table.columns.includes(ISSUE_ORDER) ? [ISSUE_ORDER] : table.key;
  yield* pagesWhere(table, ask, { key, where: `${parent} IS NULL` });
  yield* pagesWhere(table, ask, { key, where: `${parent} IS NOT NULL` });
}

async function* pagesWhere(
  { name, columns }: CopiedTable,
  ask: AskRows,
  { key, where }: { readonly key: readonly string[]; readonly where?: string },
): AsyncGenerator<readonly CopiedRow[]> {
  let after: readonly SqlValue[] | undefined;
  for (;;) {
    const conditions = where === undefined ? [] : [where];
    if (after !== undefined) conditions.push(`(${key.join(', ')}) > (${key.map(() => '?').join(', ')})`);
    const filter = conditions.length === 0 ? '' : ` WHERE ${conditions.join(' AND ')}`;
    const sql = `SELECT ${columns.join(', ')} FROM ${name}${filter} ORDER BY ${key.join(', ')} LIMIT ${ROWS_AT_ONCE}`;
    const rows = await ask(sql, after ?? []);
    const last = rows.at(-1);
    if (last === undefined) return;
    yield rows;
    if (rows.length < ROWS_AT_ONCE) return;
    after = key.map((column) => last[column] as SqlValue);
  }
}
