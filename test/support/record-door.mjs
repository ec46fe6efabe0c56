/**
 * Loaded into a daemon with `--import`: a socket by which a test has records changed and keys made
 * and destroyed. There is no door for the first yet, and none that destroys at once.
 */
import { rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';

const isDaemon = (process.argv[1] ?? '').endsWith('/daemon/main.js');
if (isDaemon) {
  const { RunningCluster } = await import('../../dist/cluster/running-cluster.js');
  const open = RunningCluster.open.bind(RunningCluster);
  RunningCluster.open = async (options, id) => {
    const cluster = await open(options, id);
    serve(cluster, options);
    return cluster;
  };
}

function serve(cluster, { home, store, secrets }) {
  const call = (entry) => ({
    requestId: 'record-door',
    deadline: performance.now() + 30_000,
    ...(entry && { entry }),
  });
  const sessionOf = async (user) =>
    await cluster.login(user, await secrets.passwordOf(cluster.id, user));
  const actions = {
    async create() {
      const prepared = await cluster.vault.createKey('AES_256', call());
      await store.commit(prepared.part);
      prepared.committed();
      return { key: prepared.id };
    },
    async destroy({ key }) {
      await store.commit(await cluster.vault.destroyKey(key));
      return {};
    },
    async change({ user, key, change, entry }) {
      const session = await sessionOf(user);
      try {
        await cluster.records.change(session, key, change, call(entry));
        return {};
      } finally {
        cluster.logout(session);
      }
    },
    /** which HSMs let this user work with the key */
    async allows({ user, key }) {
      const session = await sessionOf(user);
      const fields = { keyId: key, aad: Buffer.alloc(0), data: Buffer.from('x') };
      try {
        return await Promise.all(
          cluster.members.map(async ({ id }) => {
            const request = call(id);
            const done = session.run('encrypt', fields, request, key);
            return await done.then(
              () => request.servedBy === id,
              () => false,
            );
          }),
        );
      } finally {
        cluster.logout(session);
      }
    },
  };
  const answer = async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    try {
      const action = actions[request.url.slice(1)];
      const result = await action(JSON.parse(Buffer.concat(chunks).toString('utf8')));
      response.writeHead(200).end(JSON.stringify(result));
    } catch (error) {
      response.writeHead(400).end(JSON.stringify({ code: error.code ?? String(error) }));
    }
  };
  const server = createServer((request, response) => void answer(request, response));
  const path = join(home.runtime, 'record-door.sock');
  // a daemon that was killed leaves its socket
  rmSync(path, { force: true });
  server.listen(path);
  server.unref();
}
