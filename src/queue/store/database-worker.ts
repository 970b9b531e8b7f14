// The thread that has queue.db: one in a process. It may wait for the disk and for other processes; the loop of the process never does.
import { parentPort } from 'node:worker_threads';
import { loadSqlite } from '../../lib/sqlite.ts';
import { Engine } from './engine.ts';
import type { FromThread, ToThread } from './protocol.ts';

const port = parentPort;
if (port) {
  let engine: Engine | undefined;
  const post = (message: FromThread): void => port.postMessage(message);
  port.on('message', (message: ToThread) => {
    if ('place' in message) engine = new Engine(message.place, post);
    else if ('close' in message) {
      engine?.close();
      port.close();
    } else engine?.take(message);
  });
  // What would be read from the program's folder later is read now: the process may be about to give up the rights to it.
  loadSqlite();
  post({ ready: true });
}
