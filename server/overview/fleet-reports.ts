/**
 * What the nodes of a fleet tell each other for the overview: one question to all for all operators who look within a second, so that many open
 * pages cost the nodes as much as one. A node that is silent is left out and named.
 */

import type {
  Finding,
  FleetExamination,
  FleetOverview,
  NodeFigures,
  NodeOverview,
  NodeView,
  ServerHistory,
} from '../../console/index.ts';
import type { FleetQuestions } from '../cluster/fleet-questions.ts';
import { coalesced } from './coalesced.ts';

export interface FleetParts {
  /** The name of this node. */
  readonly node: string;
  readonly list: () => readonly NodeView[] | Promise<readonly NodeView[]>;
  readonly questions: Pick<FleetQuestions, 'ask' | 'answerWith'>;
  /** Of this node. */
  readonly own: {
    figures(): Promise<NodeFigures>;
    history(minutes: number): ServerHistory;
    findings(): Promise<readonly Finding[]>;
  };
}

export interface FleetReports {
  overview(): Promise<FleetOverview>;
  /** Of at least so many minutes where the nodes have them. */
  histories(minutes: number): Promise<{
    readonly all: readonly ServerHistory[];
    readonly unanswered: readonly string[];
  }>;
  examination(): Promise<FleetExamination>;
}

/** All who ask in this time get what one question found, in ms. */
const FIGURES_KEPT_MS = 1_000;
/** A sample is taken every 15 s. */
const HISTORY_KEPT_MS = 5_000;
/** An examination reads files and asks the database. */
const FINDINGS_KEPT_MS = 5_000;
/** Nodes are asked for one of these, in minutes: few questions for however many times operators choose. The third is all samples of one answer. */
const HISTORIES = [15, 60, 90, 360] as const;

export function createFleetReports({ node, list, questions, own }: FleetParts): FleetReports {
  questions.answerWith('figures', own.figures);
  questions.answerWith('history', own.history);
  questions.answerWith('findings', own.findings);
  const askFigures = coalesced(async (_: 'figures') => {
    const [nodes, found] = await Promise.all([list(), questions.ask('figures', null)]);
    return { nodes: nodes.filter(({ state }) => state !== 'removed'), ...found };
  }, FIGURES_KEPT_MS);
  const askHistories = coalesced((minutes: number) => questions.ask('history', minutes), HISTORY_KEPT_MS);
  const examine = coalesced(async (_: 'findings') => {
    const [found, findings] = await Promise.all([questions.ask('findings', null), own.findings()]);
    return { ...found, findings };
  }, FINDINGS_KEPT_MS);
  return {
    async overview() {
      const [found, figures] = await Promise.all([askFigures('figures'), own.figures()]);
      const of = ({ name, state, since, server }: NodeView): NodeOverview => ({
        ...{ name, state, since, roles: server?.roles ?? [], version: server?.version ?? '' },
        figures: name === node ? figures : found.answers.get(name),
      });
      const nodes = found.nodes.map(of).sort((one, other) => (one.name < other.name ? -1 : 1));
      return { node, nodes, unanswered: silent(nodes, found.unanswered) };
    },
    async histories(minutes) {
      const asked = HISTORIES.find((each) => each >= minutes) ?? minutes;
      const { answers, unanswered } = await askHistories(asked);
      return { all: [own.history(asked), ...answers.values()], unanswered };
    },
    async examination() {
      const { findings, answers, unanswered } = await examine('findings');
      // In one order, whichever node is asked.
      const all = [[node, findings] as const, ...answers].sort(([one], [other]) => (one < other ? -1 : 1));
      return { findings: mergedFindings(all), unanswered };
    },
  };
}

/** In the order in which they are found; the nodes that found the same are named together. */
function mergedFindings(
  all: readonly (readonly [node: string, findings: readonly Finding[]])[],
): FleetExamination['findings'] {
  const merged = new Map<string, Finding & { readonly nodes: string[] }>();
  for (const [node, findings] of all) {
    for (const finding of findings) {
      const { check, outcome, found, fix } = finding;
      const key = JSON.stringify([check, outcome, found, fix]);
      const same = merged.get(key);
      if (same === undefined) merged.set(key, { ...finding, nodes: [node] });
      else same.nodes.push(node);
    }
  }
  for (const { nodes } of merged.values()) nodes.sort();
  return [...merged.values()];
}

/** Those that run and did not answer, also those that were not asked because they are deaf. */
function silent(nodes: readonly NodeOverview[], unanswered: readonly string[]): readonly string[] {
  const deaf = nodes.filter(({ state, figures }) => state === 'deaf' && figures === undefined).map(({ name }) => name);
  return [...new Set([...unanswered, ...deaf])].sort();
}
