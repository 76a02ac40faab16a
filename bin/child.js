// The program as the child of bin/rollcall, under a Node that cannot replace itself. It ends with its parent: a server
// whose parent was killed would hold its data directory and its ports, and no supervisor would know of it.

const end = () => process.kill(process.pid, 'SIGTERM');

process.once('disconnect', end);
process.channel?.unref();
if (!process.connected) end();
await import('../cli/main.ts');
