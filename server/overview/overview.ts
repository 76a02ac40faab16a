/**
 * The state of a server in few numbers, for operators who look at it, and their history: of all nodes where several share a store. Counts; decides
 * nothing.
 */

import type {
  FleetExamination,
  FleetHistory,
  FleetOverview,
  ServerExamination,
  ServerOverview,
} from '../../console/index.ts';
import type { Registry } from '../../registry/index.ts';
import { coalesced } from './coalesced.ts';
import { createFleetReports, type FleetParts } from './fleet-reports.ts';
import { mergedHistory } from './merged-history.ts';
import { type FigureParts, monitorFigures, sinkFigures } from './node-figures.ts';
import { sumOfFigures } from './sum-figures.ts';

export interface OverviewParts extends FigureParts {
  readonly expiry: { counters(): Readonly<Record<string, number>> };
  readonly stores: FigureParts['stores'] & { readonly registry: Pick<Registry, 'countDevices'> };
  /** `main` where the server is alone. */
  readonly node: string;
  /** This server examines itself. */
  readonly examine: () => Promise<ServerExamination>;
  /** Undefined where the server is alone. */
  readonly fleet: Pick<FleetParts, 'list' | 'questions'> | undefined;
}

export interface OverviewMonitor {
  overview(): Promise<ServerOverview>;
  fleet(): Promise<FleetOverview>;
  examination(): Promise<FleetExamination>;
  /** Of the last so many minutes. */
  history(minutes: number): Promise<FleetHistory>;
  close(): Promise<void>;
}

/** Reading so many entries of an index takes some milliseconds. */
const DEVICES_MOST = 100_000;
/** Devices are counted so often at most, however many operators look. */
const COUNT_EVERY_MS = 1_000;

export function createOverviewMonitor(parts: OverviewParts): OverviewMonitor {
  const { expiry, stores, context, node } = parts;
  const { now } = context;
  const own = monitorFigures(parts);
  const ownHistory = (minutes: number) => own.history.series(now() - minutes * 60_000);
  const findings = async () => (await parts.examine()).findings;
  const reports =
    parts.fleet &&
    createFleetReports({ node, ...parts.fleet, own: { figures: own.read, history: ownHistory, findings } });
  const countDevices = coalesced((most: number) => stores.registry.countDevices(most), COUNT_EVERY_MS);
  const fleet = async (): Promise<FleetOverview> => reports?.overview() ?? { node, nodes: [], unanswered: [] };
  const ownExamination = async (): Promise<FleetExamination> => ({
    findings: (await findings()).map((finding) => ({ ...finding, nodes: [node] })),
    unanswered: [],
  });
  return {
    fleet,
    examination: () => reports?.examination() ?? ownExamination(),
    overview: async () => {
      const [found, devices] = await Promise.all([fleet(), countDevices(DEVICES_MOST)]);
      const ownFigures = found.nodes.find(({ name }) => name === node)?.figures ?? (await own.read());
      const figures = found.nodes.flatMap((one) => (one.figures === undefined ? [] : [one.figures]));
      const { sinks, ...sum } = sumOfFigures(figures.length === 0 ? [ownFigures] : figures);
      return {
        ...found,
        ...sum,
        startedAt: ownFigures.startedAt,
        isReady: ownFigures.isReady,
        devices,
        devicesMost: DEVICES_MOST,
        // None of those that answered forwards.
        sinks: sinks ?? stores.sinks.list().map(sinkFigures),
        expiring: expiringOf(expiry.counters()),
      };
    },
    history: async (minutes) => {
      if (reports === undefined) return { node, unanswered: [], ...ownHistory(minutes) };
      const { all, unanswered } = await reports.histories(minutes);
      return { node, unanswered, ...mergedHistory(all, now() - minutes * 60_000) };
    },
    close: async () => own.close(),
  };
}

/** From the gauges of the expiry monitor. */
function expiringOf(gauges: Readonly<Record<string, number>>): ServerOverview['expiring'] {
  return Object.keys(gauges)
    .filter((key) => key.startsWith('late/'))
    .map((key) => key.slice('late/'.length))
    .filter((kind) => (gauges[`late/${kind}`] ?? 0) + (gauges[`expiring/${kind},90d`] ?? 0) > 0)
    .map((kind) => {
      const next = gauges[`next_expiry/${kind}`];
      return {
        kind,
        in7Days: gauges[`expiring/${kind},7d`] ?? 0,
        in30Days: gauges[`expiring/${kind},30d`] ?? 0,
        late: gauges[`late/${kind}`] ?? 0,
        nextAt: next === undefined ? undefined : next * 1000,
      };
    });
}
