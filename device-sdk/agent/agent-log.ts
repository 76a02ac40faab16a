import { jsonText } from '@rollcall/output';
import type { DeviceLog } from '../device-state.ts';
import type { AgentLogLevel } from './settings.ts';

/** Numbers as pino's and journald's readers know them. */
const LEVELS = { debug: 20, info: 30, warn: 40, silent: 100 } as const;

export function agentLog(level: AgentLogLevel, now: () => number, write: (line: string) => void): DeviceLog {
  const at = (name: 'debug' | 'info' | 'warn') => (fields: object, phrase: string) => {
    if (LEVELS[name] < LEVELS[level]) return;
    write(`${jsonText({ level: name, time: new Date(now()).toISOString(), ...fields, msg: phrase })}\n`);
  };
  return { debug: at('debug'), info: at('info'), warn: at('warn') };
}
