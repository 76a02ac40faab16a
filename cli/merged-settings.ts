/** Settings of a server, as in rollcall.example.yaml. */
export type Settings = Readonly<Record<string, unknown>>;

/** `over` decides, section by section. */
export function mergedSettings(base: Settings, over: Settings): Settings {
  const result: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const below = result[key];
    result[key] = isSettings(below) && isSettings(value) ? mergedSettings(below, value) : value;
  }
  return result;
}

function isSettings(value: unknown): value is Settings {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
