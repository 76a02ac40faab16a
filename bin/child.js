// The program as the child of bin/rollcall, under a Node that cannot replace itself. It ends with its parent: otherwise a server
// whose parent was killed would keep its data directory and its ports, unknown to the supervisor.

const end = () => process.kill(process.pid, 'SIGTERM');

process.once('disconnect', end);
process.channel?.unref();
if (!process.connected) end();
await import('../cli/main.ts');
