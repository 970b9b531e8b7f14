// Debian's postsrsd: what it makes of senders and recipients, asked as Postfix asks a tcp_table(5).
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { sleep } from '../../src/lib/async.ts';

export interface Postsrsd {
  /** The rewritten address; undefined for none. */
  forward(sender: string): Promise<string | undefined>;
  reverse(recipient: string): Promise<string | undefined>;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

function ask(port: number, key: string): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(`get ${encodeURI(key)}\n`));
    let answer = '';
    socket.setTimeout(5000, () => socket.destroy(new Error('postsrsd does not answer')));
    socket.on('error', reject).on('data', (bytes) => {
      answer += bytes.toString();
      if (!answer.includes('\n')) return;
      socket.destroy();
      resolve(answer.startsWith('200 ') ? decodeURIComponent(answer.slice(4).trim()) : undefined);
    });
  });
}

/** Runs it until the test ends. */
export async function startPostsrsd(t: TestContext, program: string, domain: string, secretsFile: string): Promise<Postsrsd> {
  const [forward, reverse] = [await freePort(), await freePort()];
  const args = ['-4', `-s${secretsFile}`, `-d${domain}`, `-f${forward}`, `-r${reverse}`];
  const child = spawn(program, args, { stdio: 'ignore' });
  t.after(() => child.kill('SIGKILL'));
  for (let tries = 0; ; tries++) {
    try {
      await ask(forward, 'nobody');
      break;
    } catch (error) {
      if (tries > 100) throw error;
      await sleep(50);
    }
  }
  return { forward: (sender) => ask(forward, sender), reverse: (recipient) => ask(reverse, recipient) };
}
