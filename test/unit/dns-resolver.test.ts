import assert from 'node:assert/strict';
import { createSocket, type Socket } from 'node:dgram';
import { test, type TestContext } from 'node:test';
import { staticResolver, systemResolver } from '../../src/dns/resolver.ts';
import { answerTo, wireName } from '../support/dns-server.ts';

/** A name server on loopback that answers with `reply`, or never where that gives undefined. */
async function nameServer(t: TestContext, reply: (query: Buffer) => Buffer | undefined): Promise<string> {
  const socket: Socket = createSocket('udp4');
  socket.on('message', (query, from) => {
    const answer = reply(query);
    if (answer) socket.send(answer, from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  t.after(() => socket.close());
  return `127.0.0.1:${socket.address().port}`;
}

const mx = (priority: number, exchange: string) => ({
  type: 15,
  data: Buffer.concat([Buffer.from([0, priority]), wireName(exchange)]),
});

test('answers of a real name server', async (t) => {
  const server = await nameServer(t, (query) => {
    const type = query.readUInt16BE(query.indexOf(0, 12) + 1);
    if (type === 15) return answerTo(query, 0, [mx(20, 'B.example.com'), mx(10, 'a.example.com')]);
    if (type === 16) return answerTo(query, 0, [{ type: 16, data: Buffer.from('\x06v=spf1\x05 -all') }]);
    if (type === 1) return answerTo(query, 0, [{ type: 1, data: Buffer.from([192, 0, 2, 1]) }]);
    if (type === 28) return answerTo(query, 0, [{ type: 28, data: Buffer.from('20010db8000000000000000000000001', 'hex') }]);
    return answerTo(query, 0, [{ type: 12, data: wireName('Mail.example.com') }]);
  });
  const resolver = systemResolver({ servers: [server] });
  assert.deepEqual(await resolver.mx('example.com'), [
    { exchange: 'a.example.com', priority: 10 },
    { exchange: 'b.example.com', priority: 20 },
  ]);
  assert.deepEqual(await resolver.txt('example.com'), ['v=spf1 -all']);
  assert.deepEqual(await resolver.a('example.com'), ['192.0.2.1']);
  assert.deepEqual(await resolver.aaaa('example.com'), ['2001:db8::1']);
  assert.deepEqual(await resolver.ptr('192.0.2.1'), ['mail.example.com']);
  assert.deepEqual(await resolver.ptr('not an address'), []);
});

test('row 44: no such name is an empty answer; SERVFAIL, REFUSED and silence are temporary errors', async (t) => {
  const code = (rcode: number) => nameServer(t, (query) => answerTo(query, rcode));
  assert.deepEqual(await systemResolver({ servers: [await code(3)] }).mx('example.com'), [], 'NXDOMAIN');
  assert.deepEqual(await systemResolver({ servers: [await code(0)] }).a('example.com'), [], 'NODATA');
  for (const rcode of [2, 5])
    await assert.rejects(
      systemResolver({ servers: [await code(rcode)] }).mx('example.com'),
      { kind: 'temporary' },
      String(rcode),
    );
  const silent = await nameServer(t, () => undefined);
  const started = Date.now();
  await assert.rejects(systemResolver({ servers: [silent], timeout: 300 }).txt('example.com'), {
    kind: 'temporary',
    code: 'DNS_TIMEOUT',
  });
  assert.ok(Date.now() - started < 3000);
});

test('a name is there unless NXDOMAIN says that it is not; what cannot be a name is not', async (t) => {
  const asked = async (answer: (type: number, query: Buffer) => Buffer): Promise<boolean> => {
    const server = await nameServer(t, (query) => answer(query.readUInt16BE(query.indexOf(0, 12) + 1), query));
    return systemResolver({ servers: [server] }).exists('x.example.com');
  };
  assert.equal(await asked((_type, query) => answerTo(query, 0, [{ type: 1, data: Buffer.from([192, 0, 2, 1]) }])), true);
  assert.equal(await asked((_type, query) => answerTo(query, 0)), true);
  assert.equal(await asked((_type, query) => answerTo(query, 3)), false);
  // Its alias leads nowhere.
  const alias = { type: 5, data: wireName('gone.example.com') };
  assert.equal(await asked((type, query) => (type === 5 ? answerTo(query, 0, [alias]) : answerTo(query, 3))), true);
  await assert.rejects(
    asked((_type, query) => answerTo(query, 2)),
    { kind: 'temporary' },
  );
  assert.deepEqual(await systemResolver({ servers: ['127.0.0.1:9'] }).txt(`${'x'.repeat(64)}.example.com`), []);
});

test('row 44: an answer with a forged id is not taken', async (t) => {
  const server = await nameServer(t, (query) => {
    const forged = answerTo(query, 0, [{ type: 1, data: Buffer.from([6, 6, 6, 6]) }]);
    forged.writeUInt16BE(query.readUInt16BE(0) ^ 0xffff, 0);
    return forged;
  });
  await assert.rejects(systemResolver({ servers: [server], timeout: 300 }).a('example.com'), { kind: 'temporary' });
});

test('the static resolver answers from its records; a failing name is a temporary error', async () => {
  const resolver = staticResolver({
    'Example.com.': {
      mx: ['mail.example.com', { exchange: 'First.example.com.', priority: 5 }],
      txt: ['v=spf1 mx -all'],
      a: ['192.0.2.1'],
      aaaa: ['::1'],
    },
    '192.0.2.1': { ptr: ['mail.example.com.'] },
    'down.test': { fails: true },
  });
  assert.deepEqual(await resolver.mx('EXAMPLE.com'), [
    { exchange: 'first.example.com', priority: 5 },
    { exchange: 'mail.example.com', priority: 10 },
  ]);
  assert.deepEqual(await resolver.txt('example.com.'), ['v=spf1 mx -all']);
  assert.deepEqual(await resolver.a('example.com'), ['192.0.2.1']);
  assert.deepEqual(await resolver.aaaa('example.com'), ['::1']);
  assert.equal(await resolver.exists('com'), true);
  assert.equal(await resolver.exists('ample.com'), false);
  assert.deepEqual(await resolver.ptr('192.0.2.1'), ['mail.example.com']);
  assert.deepEqual(await resolver.a('other.test'), []);
  await assert.rejects(resolver.mx('down.test'), { kind: 'temporary', code: 'DNS_FAILED' });
});
