/** Simulations as the console sees them: ready scenarios, the one that runs, and what the last ones found. */

import type { Actor } from '../registry/index.ts';

/** A scenario that comes with Rollcall. */
export interface ReadyScenario {
  readonly name: string;
  readonly about: string;
  readonly devices: number;
  readonly durationSeconds: number;
  /** Why this server does not start it; undefined: it does. */
  readonly obstacle: 'too_large' | 'needs_root' | undefined;
}

export type SimulationState = 'running' | 'passed' | 'failed' | 'stopped' | 'broken';

/** Times are milliseconds since the epoch. */
export interface SimulationRun {
  readonly id: string;
  readonly scenario: string;
  readonly durationSeconds: number;
  readonly startedAt: number;
  readonly startedBy: Actor;
  readonly endedAt?: number;
  readonly state: SimulationState;
}

/** What the simulator reported after a second. */
export interface SimulationSecond {
  readonly at: number;
  readonly devices: number;
  readonly connected: number;
  /** Messages in this second. */
  readonly acknowledged: number;
  readonly errors: number;
}

export interface SimulationReport {
  readonly run: SimulationRun;
  /** While it runs. */
  readonly seconds: readonly SimulationSecond[];
  /** The result as the simulator wrote it; undefined before the end, and when it wrote none. */
  readonly result: unknown;
}

export interface SimulationControl {
  scenarios(): Promise<readonly ReadyScenario[]>;
  /** Newest first; a bounded number. */
  runs(): Promise<readonly SimulationRun[]>;
  /** Problem `simulation_unknown`. */
  report(id: string): Promise<SimulationReport>;
  /** Against a temporary server. Problem `scenario_unknown`, `scenario_not_startable` or `simulation_running`. */
  start(scenario: string, actor: Actor): Promise<SimulationRun>;
  /** Ends the one that runs. Problem `simulation_unknown`. */
  stop(id: string, actor: Actor): Promise<SimulationRun>;
}
