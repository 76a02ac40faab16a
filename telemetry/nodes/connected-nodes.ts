/**
 * The keeper's side of the nodes: connects them, tells them what is held and whether the disk has space, and counts what they report. The
 * counts of a node that ended stay counted. Nothing here is done per message.
 */

import { MessageChannel, type MessagePort } from 'node:worker_threads';
import type { Logger } from 'pino';
import { Channel, type DiskSpaceMonitor, Transferring } from '../../storage/index.ts';
import { type IntakeCounters, type IntakeLimits, NOTHING_COUNTED } from '../intake.ts';
import type { StorageShares } from '../storage-shares.ts';
import type { StreamLimit } from '../stream-limit.ts';
import type { KeeperCalls, NodeCalls, NodeConnection, NodeReport } from './node-calls.ts';

/** What a device may store unreported for the time of two reports that tell everything, as a part of its share. */
const STEPS_IN_SHARE = 256;

export interface ConnectedNodesOptions {
  /** Of each node. */
  readonly limits: IntakeLimits;
  readonly disk: DiskSpaceMonitor;
  readonly shares: StorageShares;
  readonly streams: StreamLimit;
  readonly log: Logger;
  /** A port to the thread that writes the journal, which starts when it does not run. */
  journalPort(): Promise<MessagePort>;
  /** Something was stored, and is counted in the shares. Called for each report, and when a node ended. */
  stored(report: Pick<NodeReport, 'storedBytes' | 'commitSeconds'>): void;
}

/** A connection, and what has to be transferred with it. */
export interface NodeConnected {
  readonly connection: NodeConnection;
  readonly transfer: readonly MessagePort[];
}

interface Node {
  readonly channel: Channel<NodeCalls, KeeperCalls>;
  counters: IntakeCounters;
}

export class ConnectedNodes {
  readonly #options: ConnectedNodesOptions;
  readonly #nodes = new Set<Node>();
  /** Of those that ended. */
  #ended = NOTHING_COUNTED;
  #newestPosition = 0;
  #isHeldStale = false;

  constructor(options: ConnectedNodesOptions) {
    this.#options = options;
    options.disk.onChange(() => {
      for (const { channel } of this.#nodes) channel.tell('disk', options.disk.state);
    });
    options.shares.listen({ changed: (device) => this.#heldChanged(device) });
  }

  get newestPosition(): number {
    return this.#newestPosition;
  }

  /** Of all nodes that are or were connected. */
  counters(): IntakeCounters {
    return [...this.#nodes].reduce((sum, { counters }) => sumOfCounters(sum, counters), this.#ended);
  }

  async connect(): Promise<NodeConnected> {
    const { limits, disk, shares, streams, journalPort } = this.#options;
    const journal = await journalPort();
    const { port1, port2: keeper } = new MessageChannel();
    this.#add(port1);
    const { isCounted, deviceShare } = shares;
    const step = deviceShare === 0 ? Number.POSITIVE_INFINITY : deviceShare / STEPS_IN_SHARE;
    const connection: NodeConnection = {
      keeper,
      journal,
      limits,
      maxStreams: streams.max,
      shares: { isCounted, step, held: shares.heldNames() },
      disk: disk.state,
    };
    return { connection, transfer: [keeper, journal] };
  }

  /** Streams were counted again. */
  streamsCounted(): void {
    for (const { channel } of this.#nodes) channel.tell('streamsCounted', undefined);
  }

  close(): void {
    for (const { channel } of this.#nodes) channel.close();
  }

  #add(port: MessagePort): void {
    const { journalPort, streams, log, stored } = this.#options;
    const channel = new Channel<NodeCalls, KeeperCalls>(port, {
      name: 'a node',
      failed: (error, name) => log.error({ err: error, call: name }, 'a call of a node failed'),
      onEnded: () => {
        this.#nodes.delete(node);
        this.#ended = {
          ...sumOfCounters(this.#ended, node.counters),
          queuedBytes: 0,
          isUnderPressure: false,
          isHeld: false,
        };
        stored({ storedBytes: 0, commitSeconds: [] });
      },
    });
    const node: Node = { channel, counters: NOTHING_COUNTED };
    channel.handle('report', (report) => this.#reported(node, report));
    channel.handle('journal', async () => {
      const journal = await journalPort();
      return new Transferring(journal, [journal]);
    });
    channel.handle('streams', (devices) => devices.map((device) => streams.of(device)));
    channel.handle('streamAdmitted', ({ device, stream }): undefined => {
      streams.admit(device, stream);
    });
    this.#nodes.add(node);
  }

  #reported(node: Node, report: NodeReport): undefined {
    node.counters = report.counters;
    this.#newestPosition = Math.max(this.#newestPosition, report.newestPosition);
    this.#options.shares.storedBy(report.devices, report.groups);
    this.#options.stored(report);
  }

  /** All names that are held are told once in a turn, however many answers changed. */
  #heldChanged(device: string | undefined): void {
    const { shares } = this.#options;
    if (device !== undefined) {
      const isHeld = shares.isHeld(device, undefined);
      for (const { channel } of this.#nodes) channel.tell('deviceHeld', { device, isHeld });
      return;
    }
    if (this.#isHeldStale) return;
    this.#isHeldStale = true;
    setImmediate(() => {
      this.#isHeldStale = false;
      const held = shares.heldNames();
      for (const { channel } of this.#nodes) channel.tell('held', held);
    });
  }
}

/** Of several intakes. */
export function sumOfCounters(one: IntakeCounters, other: IntakeCounters): IntakeCounters {
  return {
    stored: one.stored + other.stored,
    storedQos0: one.storedQos0 + other.storedQos0,
    droppedQos0: one.droppedQos0 + other.droppedQos0,
    refused: one.refused + other.refused,
    repeated: one.repeated + other.repeated,
    commits: one.commits + other.commits,
    queuedBytes: one.queuedBytes + other.queuedBytes,
    isUnderPressure: one.isUnderPressure || other.isUnderPressure,
    isHeld: one.isHeld || other.isHeld,
  };
}
