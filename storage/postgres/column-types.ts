/** How values of PostgreSQL become values of JavaScript: BIGINT is a number, BYTEA a Buffer; all others are as `pg` has them. */

import pg from 'pg';

const { INT8 } = pg.types.builtins;

export const COLUMN_TYPES: pg.CustomTypesConfig = {
  getTypeParser(oid: number, format?: 'text' | 'binary') {
    if (oid === INT8 && format !== 'binary') return parseBigint;
    return pg.types.getTypeParser(oid, format as 'text');
  },
};

/** Throws RangeError beyond 2^53, where a number would be another one. */
export function parseBigint(text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value)) return value;
  throw new RangeError('expected a BIGINT that a number can hold exactly');
}
