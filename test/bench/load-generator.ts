/** The bench's side of the load generator: sends orders, one at a time. */

import { fileURLToPath } from 'node:url';
import type { BenchResources, Child } from './children.ts';
import type { LoadAnswer, LoadOrder, LoadReport } from './load/orders.ts';

const PROGRAM = fileURLToPath(new URL('load/generator.ts', import.meta.url));

export class LoadGenerator {
  readonly #child: Child;

  constructor(borrowed: BenchResources) {
    this.#child = borrowed.start({ name: 'load', program: process.execPath, args: [PROGRAM], channel: 'ipc' });
  }

  /** Resolves when the load has run. Rejects when it could not, in part or in whole. */
  order(order: LoadOrder): Promise<LoadReport> {
    const { process: generator } = this.#child;
    return new Promise((resolve, reject) => {
      const ended = () => reject(new Error('the load generator ended'));
      generator.once('exit', ended);
      generator.once('message', (answer: LoadAnswer) => {
        generator.removeListener('exit', ended);
        if ('report' in answer) resolve(answer.report);
        else reject(new Error(`load "${order.kind}": ${answer.error}`));
      });
      generator.send(order);
    });
  }
}
