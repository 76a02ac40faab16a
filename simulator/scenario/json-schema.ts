/** The JSON Schema of scenarios for editors, generated from the schema of scenarios. */

import { z } from 'zod';
import { METRIC_NAMES } from './expectation.ts';
import { scenarioSchema } from './schema.ts';

/** What `simulator/scenario/scenario.schema.json` holds; a test keeps them equal. */
export function scenarioJsonSchema(): string {
  const schema = z.toJSONSchema(scenarioSchema, { io: 'input', target: 'draft-7' }) as Record<string, unknown>;
  const properties = schema.properties as Record<string, Record<string, unknown>>;
  const names = [...METRIC_NAMES.map((name) => name.replace('.', '\\.')), '(errors|reasons)\\.[A-Za-z0-9_]+'];
  properties.expect = {
    ...properties.expect,
    items: { type: 'string', pattern: `^\\s*(${names.join('|')})\\s*(==|!=|<=|>=|<|>)\\s*\\S+\\s*$` },
  };
  return `${JSON.stringify(schema, null, 2)}\n`;
}
