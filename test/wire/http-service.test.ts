// The MTA-STS policies of our domains over HTTP(S), as clients of all kinds ask for them.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectTcp, createServer, type AddressInfo } from 'node:net';
import { test, type TestContext } from 'node:test';
import { connect as connectTls, createSecureContext, TLSSocket } from 'node:tls';
import { settingsFromObject } from '../../src/config/settings-object.ts';
import { DEFAULT_HTTP_LIMITS, HttpService, type HttpOptions } from '../../src/http/service.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { ownCounters } from '../../src/lib/counters.ts';
import { MailError } from '../../src/lib/errors.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { ownPolicy } from '../../src/policy/mta-sts/own.ts';
import { parsePolicy } from '../../src/policy/mta-sts/policy.ts';
import { pairFor } from '../support/policy-host.ts';

const settings = settingsFromObject(
  {
    hostname: 'mail.example.com',
    mta_sts_mode: 'enforce',
    mta_sts_policies: [{ domain: 'b.test', mode: 'none', mx: ['*.b.test'], max_age: '1d' }],
  },
  '/',
);
const GET = 'GET /.well-known/mta-sts.txt HTTP/1.1\r\n';

interface Served {
  readonly service: HttpService;
  /** Everything that comes until the connection ends. */
  readonly ask: (text: string, servername?: string) => Promise<string>;
}

async function serve(t: TestContext, more: Partial<HttpOptions> = {}): Promise<Served> {
  const secureContext = createSecureContext(await pairFor('mta-sts.a.test'));
  const service = new HttpService({
    policyOf: async (domain) => {
      if (domain === 'broken.test') throw new MailError('temporary', 'MAP_UNREADABLE', 'x');
      return domain.endsWith('.test') && domain !== 'c.test' ? ownPolicy(settings, domain).text : undefined;
    },
    startTls: async (socket) => {
      const tls = new TLSSocket(socket, { isServer: true, secureContext });
      await once(tls, 'secure');
      return tls;
    },
    isProxy: (address) => address.startsWith('127.'),
    limits: DEFAULT_HTTP_LIMITS,
    counters: ownCounters(),
    clock: systemClock,
    logger: silentLogger,
    ...more,
  });
  const ports = [false, true].map((isTls) => {
    const server = createServer((socket) => void service.serve(socket, isTls)).listen(0, '127.0.0.1');
    t.after(() => server.close());
    return server;
  });
  for (const server of ports) if (!server.listening) await once(server, 'listening');
  t.after(() => service.close(0));
  const [clear = 0, secure = 0] = ports.map((server) => (server.address() as AddressInfo).port);
  return {
    service,
    ask: async (text, servername) => {
      const socket =
        servername === undefined
          ? connectTcp(clear, '127.0.0.1')
          : connectTls({
              port: secure,
              host: '127.0.0.1',
              rejectUnauthorized: false,
              ...(servername === '' ? {} : { servername }),
            });
      socket.on('error', () => undefined);
      let output = '';
      socket.setEncoding('latin1').on('data', (chunk: string) => (output += chunk));
      socket.write(text);
      let late = false;
      const timer = setTimeout(() => {
        late = true;
        socket.destroy();
      }, 5_000);
      await once(socket, 'close');
      clearTimeout(timer);
      return late ? 'still open' : output;
    },
  };
}
const status = (output: string): string => /^HTTP\/1\.1 (\d{3})/.exec(output)?.[1] ?? output;
const body = (output: string): string => output.slice(output.indexOf('\r\n\r\n') + 4);

test('the policy of each domain: a key a line, CRLF, text/plain; over TLS and from a web server in front', async (t) => {
  const { ask } = await serve(t);
  for (const server of ['mta-sts.a.test', '', undefined]) {
    const output = await ask(`${GET}Host: mta-sts.a.test\r\n\r\n`, server);
    assert.match(output, /^HTTP\/1\.1 200 OK\r\n/);
    assert.match(output, /\r\ncontent-type: text\/plain; charset=utf-8\r\n/i);
    assert.equal(body(output), 'version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmax_age: 604800\r\n');
    assert.deepEqual(parsePolicy(body(output)), { mode: 'enforce', mx: ['mail.example.com'], maxAge: 604_800 });
  }
  assert.equal(
    body(await ask(`${GET}Host: MTA-STS.B.test.:2443\r\n\r\n`, 'mta-sts.b.test')),
    'version: STSv1\r\nmode: none\r\nmx: *.b.test\r\nmax_age: 86400\r\n',
  );
  const head = await ask(`HEAD /.well-known/mta-sts.txt HTTP/1.1\r\nHost: mta-sts.a.test\r\n\r\n`);
  assert.match(head, /content-length: 70\r\n/i);
  assert.equal(body(head), '');
});

test('the id is the policy’s: another one for each text, letters and digits, the same for the same', () => {
  const ids = ['a.test', 'other.test', 'b.test'].map((domain) => ownPolicy(settings, domain).id);
  assert.match(ids[0] ?? '', /^[A-Za-z0-9]{20}$/);
  assert.equal(ids[0], ids[1]);
  assert.notEqual(ids[0], ids[2]);
});

test('what is not ours, or no policy, is 404 in the same words; another host than the certificate was asked for is 421', async (t) => {
  const { ask } = await serve(t);
  const answers = await Promise.all(
    [
      `${GET}Host: mta-sts.c.test\r\n\r\n`,
      `${GET}Host: a.test\r\n\r\n`,
      `${GET}Host: 127.0.0.1\r\n\r\n`,
      `${GET}Host: mta-sts.\r\n\r\n`,
      `${GET}Host: "><script>\r\n\r\n`,
      'GET / HTTP/1.1\r\nHost: mta-sts.a.test\r\n\r\n',
      'GET /.well-known/mta-sts.txt?x HTTP/1.1\r\nHost: mta-sts.a.test\r\n\r\n',
      'GET /.well-known/../.well-known/mta-sts.txt HTTP/1.1\r\nHost: mta-sts.a.test\r\n\r\n',
      'GET http://mta-sts.a.test/.well-known/mta-sts.txt HTTP/1.1\r\nHost: mta-sts.a.test\r\n\r\n',
      'GET /.well-known/mta-sts.txt HTTP/1.0\r\n\r\n',
    ].map((text) => ask(text, '')),
  );
  for (const output of answers) assert.deepEqual([status(output), body(output)], ['404', 'Not found\n']);
  assert.equal(status(await ask(`${GET}Host: mta-sts.b.test\r\n\r\n`, 'mta-sts.a.test')), '421');
  assert.equal(status(await ask(`${GET}Host: mta-sts.broken.test\r\n\r\n`, '')), '503');
});

test('in clear from anybody else: sent to https, for our hosts only', async (t) => {
  const { ask } = await serve(t, { isProxy: () => false });
  const moved = await ask(`${GET}Host: mta-sts.a.test:80\r\n\r\n`);
  assert.equal(status(moved), '301');
  assert.match(moved, /\r\nlocation: https:\/\/mta-sts\.a\.test\/\.well-known\/mta-sts\.txt\r\n/i);
  assert.equal(status(await ask(`${GET}Host: mta-sts.c.test\r\n\r\n`)), '404');
  assert.equal(status(await ask(`${GET}Host: mta-sts.a.test\r\n\r\n`, '')), '200');
});

test('limits: methods, headers, bodies, a second request, silence, too many connections', async (t) => {
  const { ask, service } = await serve(t, { limits: { ...DEFAULT_HTTP_LIMITS, time: 400, connectionsPerAddress: 3 } });
  const post = await ask('POST /.well-known/mta-sts.txt HTTP/1.1\r\nHost: mta-sts.a.test\r\nContent-Length: 99999\r\n\r\nx');
  assert.equal(status(post), '405');
  assert.match(post, /\r\nallow: GET, HEAD\r\n/i);
  assert.equal(status(await ask(`${GET}Host: mta-sts.a.test\r\nX: ${'y'.repeat(20_000)}\r\n\r\n`)), '431');
  assert.equal(status(await ask(`GET /${'y'.repeat(20_000)} HTTP/1.1\r\nHost: mta-sts.a.test\r\n\r\n`)), '431');
  assert.equal(status(await ask(`${GET}\r\n`)), '400', 'no Host');
  assert.equal(status(await ask('EHLO client.test\r\n\r\n')), '400');
  assert.equal(
    status(await ask(`${GET}Host: mta-sts.a.test\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`)),
    '400',
  );
  const twice = await ask(`${GET}Host: mta-sts.a.test\r\n\r\n`.repeat(2));
  assert.equal(twice.split('HTTP/1.1 200').length, 2, 'one answer a connection');
  const upgrade = await ask(`${GET}Host: mta-sts.a.test\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n`);
  assert.equal(status(upgrade), '400');

  const silent = [ask('GET /'), ask(''), ask('', 'mta-sts.a.test')];
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal(await ask(`${GET}Host: mta-sts.a.test\r\n\r\n`), '', 'the fourth of an address');
  for (const output of await Promise.all(silent)) assert.ok(output === '' || status(output) === '400');
  assert.equal(status(await ask(`${GET}Host: mta-sts.a.test\r\n\r\n`)), '200', 'and they are counted out again');
  const last = ask('GET /');
  await new Promise((resolve) => setTimeout(resolve, 50));
  await service.close(50);
  await last;
  assert.equal(await ask(`${GET}Host: mta-sts.a.test\r\n\r\n`), '');
});
