/** A read that many ask for at once: calls that come while it is under way share the next one, which sees all that was before them. */
export function sharedRead<Value>(read: () => Promise<Value>): () => Promise<Value> {
  let running: Promise<Value> | undefined;
  let next: Promise<Value> | undefined;
  const start = (): Promise<Value> => {
    const own = read().finally(() => {
      if (running === own) running = undefined;
    });
    running = own;
    return own;
  };
  return () => {
    if (running === undefined) return start();
    next ??= running
      .catch(() => {}) // told to those who asked for it
      .then(() => {
        next = undefined;
        return start();
      });
    return next;
  };
}
