import { describe, expect, it } from 'vitest';
import { AcknowledgementOrder } from './acknowledgement-order.ts';

function start() {
  const failures: unknown[] = [];
  const done: string[] = [];
  const order = new AcknowledgementOrder({
    messageNotStored: (error) => failures.push(error),
    acknowledgementsAdvanced: () => {},
  });
  const waiting = (name: string) => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    order.afterStored(
      promise.then(() => undefined),
      () => done.push(name),
    );
    return { resolve, reject };
  };
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  return { order, done, failures, waiting, settle };
}

describe('the order of acknowledgements', () => {
  it('is the order of the messages, whatever order they are stored in', async () => {
    const { done, waiting, settle } = start();
    const [a, b, c] = [waiting('a'), waiting('b'), waiting('c')];
    c.resolve();
    b.resolve();
    await settle();
    expect(done).toEqual([]);
    a.resolve();
    await settle();
    expect(done).toEqual(['a', 'b', 'c']);
  });

  it('delays a message that needs no storage until earlier ones are acknowledged', async () => {
    const { order, done, waiting, settle } = start();
    const a = waiting('a');
    order.afterEarlier(() => done.push('b'));
    expect(done).toEqual([]);
    a.resolve();
    await settle();
    order.afterEarlier(() => done.push('c'));
    expect(done).toEqual(['a', 'b', 'c']);
  });

  it('ends with the first message that was not stored', async () => {
    const { done, failures, waiting, settle } = start();
    const [a, b, c] = [waiting('a'), waiting('b'), waiting('c')];
    a.resolve();
    b.reject(new Error('disk full'));
    c.resolve();
    await settle();
    expect(done).toEqual(['a']);
    expect(failures).toEqual([new Error('disk full')]);
  });

  it('reports when nothing waits, also after it was abandoned', async () => {
    const { order, done, waiting } = start();
    await order.whenEmpty();
    const a = waiting('a');
    const emptied = order.whenEmpty();
    a.resolve();
    await emptied;
    expect(done).toEqual(['a']);
    const b = waiting('b');
    const abandoned = order.whenEmpty();
    order.abandon();
    await abandoned;
    b.resolve();
    expect(order.length).toBe(0);
    expect(done).toEqual(['a']);
  });
});
