/** The type of a JSON Schema (draft 2020-12, as the API uses it) in words, as Markdown. */

export interface JsonSchema {
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly format?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly items?: JsonSchema;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: JsonSchema | boolean;
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  readonly allOf?: readonly JsonSchema[];
}

/** `integer, 1 to 10000, default 100`; `list of text, at most 8`; `` `a` or `b` ``. */
export function typeText(schema: JsonSchema): string {
  const standard = schema.default === undefined ? '' : `, default ${value(schema.default)}`;
  return `${kindText(schema)}${standard}`;
}

function kindText(schema: JsonSchema): string {
  const { type, enum: choices, format, items, additionalProperties: others } = schema;
  const alternatives = schema.anyOf ?? schema.oneOf ?? schema.allOf;
  if (alternatives !== undefined) return [...new Set(alternatives.map(kindText))].join(' or ');
  if (schema.const !== undefined) return value(schema.const);
  if (choices !== undefined) return choices.map(value).join(' or ');
  if (type === 'string') {
    if (format === 'date-time') return 'time, ISO 8601';
    return `text${rangeText(schema.minLength, schema.maxLength, ' characters')}`;
  }
  if (type === 'integer' || type === 'number') return `${type}${rangeText(schema.minimum, schema.maximum)}`;
  if (type === 'array')
    return `list of ${items === undefined ? 'any' : kindText(items)}${rangeText(schema.minItems, schema.maxItems, ' items')}`;
  if (type === 'object')
    return typeof others === 'object' && schema.properties === undefined ? `object of ${kindText(others)}` : 'object';
  return type === undefined ? 'any JSON' : [type].flat().join(' or ');
}

/** Limits of the type itself, such as the largest exact integer, are none. */
function rangeText(least = Number.MIN_SAFE_INTEGER, most = Number.MAX_SAFE_INTEGER, unit = ''): string {
  const [hasLeast, hasMost] = [least > Number.MIN_SAFE_INTEGER, most < Number.MAX_SAFE_INTEGER];
  if (hasLeast && hasMost) return `, ${least} to ${most}${unit}`;
  if (hasMost) return `, at most ${most}${unit}`;
  return hasLeast ? `, at least ${least}${unit}` : '';
}

function value(json: unknown): string {
  return `\`${JSON.stringify(json)
    .replaceAll('|', '\\|')
    .replace(/^"(.*)"$/, '$1')}\``;
}
