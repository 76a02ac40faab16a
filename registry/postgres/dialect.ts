/**
 * The text of a statement as PostgreSQL reads it. Statements are written so that SQLite and PostgreSQL read them alike; what cannot be
 * is in this list and nowhere else. Texts come from the source, never from a request.
 */

/** In this order. SQLite's text, what PostgreSQL has in its place, and why. */
const REWRITTEN: readonly (readonly [RegExp, string])[] = [
  // SQLite is told which index to use, because it has no statistics of these columns. PostgreSQL has them.
  [/ INDEXED BY \w+/g, ''],
  // SQLite's CROSS JOIN keeps its order of tables; PostgreSQL's has no ON.
  [/\bCROSS JOIN\b/g, 'JOIN'],
  // Ids and labels come as one parameter of JSON, so that one text serves any number of them.
  [/json_each\(@(\w+)\) AS wanted/g, 'json_array_elements_text(CAST(@$1 AS json)) AS wanted (value)'],
  [/json_each\(@(\w+)\) AS label/g, 'json_each_text(CAST(@$1 AS json)) AS label (key, value)'],
  // JSON is stored as text on both: the hashes of the audit depend on each byte of it.
  [/([\w.]+) ->> /g, 'CAST($1 AS json) ->> '],
  // A function of the program in SQLite (`registry/devices/device-terms.ts`); its text is in lower case already.
  [
    /begins_term\(devices\.id, devices\.labels, @(\w+)\)/g,
    'EXISTS (SELECT 1 FROM device_terms WHERE device_id = devices.id AND left(term, length(@$1)) = @$1)',
  ],
  // A row of its own: it is locked while entries are appended, and shows that entries were removed from the end.
  [
    /SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1 \/\* to append \*\//g,
    'SELECT id, hash FROM audit_head FOR UPDATE',
  ],
  [/SELECT seq FROM sqlite_sequence WHERE name = 'audit'/g, 'SELECT id AS seq FROM audit_head'],
  [/^INSERT INTO audit /, 'WITH head AS (UPDATE audit_head SET id = @id, hash = @hash) INSERT INTO audit '],
];

export interface TranslatedStatement {
  readonly text: string;
  /** The names of `$1`, `$2`, ... */
  readonly parameters: readonly string[];
}

/** Each `@name` becomes a number, and so does the one `?` of a statement without names, whose parameter has no name. */
export function translate(sql: string): TranslatedStatement {
  let text = sql.trim();
  for (const [pattern, replacement] of REWRITTEN) text = text.replace(pattern, replacement);
  const parameters: string[] = [];
  text = text.replace(/@(\w+)|\?/g, (_, name: string = '') => {
    const known = parameters.indexOf(name);
    return `$${known >= 0 ? known + 1 : parameters.push(name)}`;
  });
  return { text, parameters };
}

/** The same for each of several values of its one parameter, which is written `?`: a row begins with the value that it was found for. */
export function translateForEach(sql: string): string {
  const found = translate(sql).text.replaceAll('$1', 'wanted.value');
  return `SELECT wanted.value AS wanted_value, found.*
    FROM unnest(CAST($1 AS TEXT[])) AS wanted (value) CROSS JOIN LATERAL (${found}) AS found`;
}
