/** Numbers in a JSON payload, and where they are (JSON Pointer, RFC 6901). */

const MOST_FIELDS = 200;
const MOST_DEPTH = 6;

export interface NumberField {
  readonly pointer: string;
  readonly value: number;
}

/** The first numbers of a value, in its order. */
export function numberFields(value: unknown): readonly NumberField[] {
  const found: NumberField[] = [];
  const visit = (one: unknown, pointer: string, depth: number) => {
    if (found.length >= MOST_FIELDS || depth > MOST_DEPTH) return;
    if (typeof one === 'number') found.push({ pointer, value: one });
    else if (typeof one === 'object' && one !== null) {
      for (const [name, member] of Object.entries(one)) {
        visit(member, `${pointer}/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`, depth + 1);
        if (found.length >= MOST_FIELDS) return;
      }
    }
  };
  visit(value, '', 0);
  return found;
}

/** The number at a pointer; undefined where there is none. */
export function numberAt(value: unknown, pointer: string): number | undefined {
  let current = value;
  for (const name of pointer === '' ? [] : pointer.slice(1).split(/\//)) {
    if (typeof current !== 'object' || current === null) return undefined;
    const key = name.replaceAll('~1', '/').replaceAll('~0', '~');
    if (!Object.hasOwn(current, key)) return undefined;
    current = (current as Record<string, unknown>)[key];
  }
  return typeof current === 'number' ? current : undefined;
}
