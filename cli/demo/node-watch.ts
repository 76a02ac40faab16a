/** What the nodes of a demo are doing, asked again and again: which of them takes devices, and a device on each. */

import type { NodeProcess } from './node-process.ts';

const EVERY_MS = 400;
const ANSWER_MS = 1_500;

export class NodeWatch {
  readonly #nodes: readonly NodeProcess[];
  readonly #onChange: (text: string) => void;
  readonly #ready = new Set<NodeProcess>();
  readonly #devices = new Map<NodeProcess, string | undefined>();
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  /** `onChange` gets a sentence when a running node takes no devices any more, or takes them again. */
  static async start(nodes: readonly NodeProcess[], onChange: (text: string) => void): Promise<NodeWatch> {
    const watch = new NodeWatch(nodes, onChange);
    for (const node of nodes) watch.#ready.add(node);
    await watch.#look();
    return watch;
  }

  private constructor(nodes: readonly NodeProcess[], onChange: (text: string) => void) {
    this.#nodes = nodes;
    this.#onChange = onChange;
  }

  get ready(): readonly NodeProcess[] {
    return [...this.#ready];
  }

  isReady(node: NodeProcess): boolean {
    return this.#ready.has(node);
  }

  /** The first device that is connected to this node. */
  deviceOn(node: NodeProcess): string | undefined {
    return this.#ready.has(node) ? this.#devices.get(node) : undefined;
  }

  /** No connection goes there until it was asked again. */
  ended(node: NodeProcess): void {
    this.#ready.delete(node);
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  async #look(): Promise<void> {
    await Promise.all(this.#nodes.map((node) => this.#ask(node)));
    if (!this.#isClosed) this.#timer = setTimeout(() => void this.#look(), EVERY_MS);
  }

  async #ask(node: NodeProcess): Promise<void> {
    const isReady = await node.isReady();
    if (this.#isClosed) return;
    if (isReady !== this.#ready.has(node)) {
      if (isReady) this.#ready.add(node);
      else this.#ready.delete(node);
      if (node.pid !== undefined) this.#onChange(`${node.name} ${isReady ? 'takes' : 'takes no'} devices`);
    }
    if (!isReady) return;
    const page = await within(ANSWER_MS, node.operator.listSessions({ node: node.name, limit: 1 }));
    if (page !== undefined) this.#devices.set(node, page.sessions[0]?.clientId);
  }
}

/** Undefined when it takes longer or rejects. */
export async function within<T>(ms: number, asked: Promise<T>): Promise<T | undefined> {
  const late = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => late.resolve(undefined), ms);
  try {
    return await Promise.race([asked, late.promise]);
  } catch {
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}
