// Who counts connections hears of each one's end, also when TLS took the socket over.
import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { test, type TestContext } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { certificatesFor, SmtpTestServer } from '../support/smtp-server.ts';

const WAIT = 10_000;

/** Resolves with what came when it matches. */
function until(socket: Socket, pattern: RegExp): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    socket.setTimeout(WAIT, () => socket.destroy(new Error(`no ${pattern} in ${JSON.stringify(text)}`)));
    socket.once('error', reject).once('close', () => reject(new Error(`closed after ${JSON.stringify(text)}`)));
    socket.on('data', (chunk: Buffer) => {
      if (pattern.test((text += chunk.toString('latin1')))) resolve(text);
    });
  });
}
const server = async (t: TestContext): Promise<SmtpTestServer> =>
  SmtpTestServer.start(t, {
    limits: { connectionsPerAddress: 2, connections: 3 },
    certificates: await certificatesFor('mail.example.test'),
  });
async function say(socket: Socket, line: string, pattern: RegExp): Promise<string> {
  const reply = until(socket, pattern);
  socket.write(`${line}\r\n`);
  return reply;
}
/** QUIT, and the connection's end. */
async function quit(socket: Socket): Promise<void> {
  const closed = new Promise((resolve) => socket.once('close', resolve));
  await say(socket, 'QUIT', /^221 /);
  socket.end();
  await closed;
}

test('connections that used STARTTLS are counted no more when they have ended', async (t) => {
  const { port } = await server(t);
  for (let n = 1; n <= 6; n++) {
    const plain = connect({ port, host: '127.0.0.1' });
    assert.match(await until(plain, /\n/), /^220 /, `connection ${n}`);
    await say(plain, 'EHLO client.test', /^250 /m);
    await say(plain, 'STARTTLS', /^220 /);
    plain.removeAllListeners();
    const secure = connectTls({ socket: plain, rejectUnauthorized: false });
    await say(secure, 'EHLO client.test', /^250 /m);
    await quit(secure);
  }
});

test('connections with implicit TLS are counted no more when they have ended', async (t) => {
  const { submissionsPort } = await server(t);
  for (let n = 1; n <= 6; n++) {
    const secure = connectTls({ port: submissionsPort, host: '127.0.0.1', rejectUnauthorized: false });
    assert.match(await until(secure, /\n/), /^220 /, `connection ${n}`);
    await quit(secure);
  }
});

test('connections whose TLS handshake failed are counted no more', async (t) => {
  const { submissionsPort } = await server(t);
  for (let n = 1; n <= 6; n++) {
    const broken = connect({ port: submissionsPort, host: '127.0.0.1' });
    await new Promise((resolve) =>
      broken
        .once('close', resolve)
        .once('connect', () => broken.write('this is no handshake\r\n'))
        .resume(),
    );
  }
  const secure = connectTls({ port: submissionsPort, host: '127.0.0.1', rejectUnauthorized: false });
  assert.match(await until(secure, /\n/), /^220 /);
  await quit(secure);
});
