// Log-in mechanisms as clients use them, over IMAP and submission, against every kind of stored secret.
import assert from 'node:assert/strict';
import { createHash, createHmac, pbkdf2Sync } from 'node:crypto';
import { test } from 'node:test';
import { hashPassword } from '../../src/auth/schemes.ts';
import { ANSWERS, LoginHost, SERVICES, type LoginClient } from '../support/login-host.ts';

const ALL = ['PLAIN', 'LOGIN', 'CRAM-MD5', 'SCRAM-SHA-1', 'SCRAM-SHA-256'];
const PASSWORD = 'pass, word=1 ñ';
const user = (name: string): string => `${name}@example.test`;
const USERS = {
  [user('plain')]: hashPassword(PASSWORD, 'PLAIN'),
  [user('scram')]: hashPassword(PASSWORD, 'SCRAM-SHA-256'),
  [user('cram')]: hashPassword(PASSWORD, 'CRAM-MD5'),
  [user('hashed')]: hashPassword(PASSWORD, 'SSHA512'),
};

/** The client's side of RFC 5802; gives the server's last answer. `server`: the first message of the server. */
async function scramLogin(client: LoginClient, hash: 'sha1' | 'sha256', name: string, password: string) {
  const bare = `n=${name.replaceAll('=', '=3D').replaceAll(',', '=2C')},r=client-nonce`;
  const server = await client.start(hash === 'sha1' ? 'SCRAM-SHA-1' : 'SCRAM-SHA-256', `n,,${bare}`);
  const [, nonce = '', salt = '', iterations = ''] = /^r=([^,]+),s=([^,]+),i=(\d+)$/.exec(server) ?? [];
  assert.ok(nonce.startsWith('client-nonce'), server);
  const salted = pbkdf2Sync(password, Buffer.from(salt, 'base64'), Number(iterations), hash === 'sha1' ? 20 : 32, hash);
  const mac = (key: Buffer, text: string): Buffer => createHmac(hash, key).update(text).digest();
  const clientKey = mac(salted, 'Client Key');
  const auth = `${bare},${server},c=biws,r=${nonce}`;
  const signature = mac(createHash(hash).update(clientKey).digest(), auth);
  const proof = Buffer.from(clientKey.map((byte, i) => byte ^ (signature[i] ?? 0))).toString('base64');
  const answer = await client.respond(`c=biws,r=${nonce},p=${proof}`);
  if (!answer.startsWith('v=')) return { server, salt, iterations, answer };
  assert.equal(answer, `v=${mac(mac(salted, 'Server Key'), auth).toString('base64')}`, 'the server proves itself');
  return { server, salt, iterations, answer: await client.respond('') };
}

async function cramLogin(client: LoginClient, name: string, password: string): Promise<string> {
  const challenge = await client.start('CRAM-MD5');
  assert.match(challenge, /^<[\w-]+@mail\.example\.test>$/);
  return client.respond(`${name} ${createHmac('md5', password).update(challenge).digest('hex')}`);
}

for (const service of SERVICES) {
  const { ok, failed } = ANSWERS[service];
  const start = (t: Parameters<typeof LoginHost.start>[0], mechanisms: readonly string[] = ALL): Promise<LoginHost> =>
    LoginHost.start(t, {
      users: USERS,
      settings: { auth_mechanisms: mechanisms, auth_failure_limit: 1_000, auth_failure_delay: 0 },
    });

  test(`${service}: each mechanism with each kind of stored secret`, async (t) => {
    const host = await start(t);
    for (const [name, works] of [
      ['plain', ['PLAIN', 'LOGIN', 'CRAM-MD5', 'SCRAM-SHA-1', 'SCRAM-SHA-256']],
      ['scram', ['PLAIN', 'LOGIN', 'SCRAM-SHA-256']],
      ['cram', ['PLAIN', 'LOGIN', 'CRAM-MD5']],
      ['hashed', ['PLAIN', 'LOGIN']],
      ['nobody', []],
    ] as const)
      for (const mechanism of ALL)
        for (const password of [PASSWORD, 'wrong']) {
          const client = await host.connect(service);
          const answer = await logInWith(client, mechanism, user(name), password);
          const good = password === PASSWORD && (works as readonly string[]).includes(mechanism);
          if (good) assert.match(answer, ok, `${mechanism} ${name}`);
          else assert.equal(answer, failed, `${mechanism} ${name} ${password}`);
          client.client.destroy();
        }
    assert.doesNotMatch(host.log, /pass, word|"wrong"/);
    assert.ok(!host.log.includes(Buffer.from(PASSWORD).toString('base64')));
  });

  test(`${service}: SCRAM does not tell who exists: salt and rounds of a name stay the same and look alike`, async (t) => {
    const host = await start(t);
    const look = async (name: string) => {
      const { salt, iterations, answer } = await scramLogin(await host.connect(service), 'sha256', user(name), 'wrong');
      assert.equal(answer, failed);
      return { salt, iterations };
    };
    const known = await look('scram');
    for (const name of ['nobody', 'hashed', 'cram', 'plain']) {
      const shown = await look(name);
      assert.deepEqual(await look(name), shown, 'the same each time');
      assert.equal(shown.iterations, known.iterations);
      assert.equal(shown.salt.length, known.salt.length);
    }
    assert.notEqual((await look('nobody')).salt, (await look('nobody2')).salt);
  });

  test(`${service}: SCRAM and CRAM-MD5 are there only where auth_mechanisms says so`, async (t) => {
    const host = await start(t, ['PLAIN', 'LOGIN']);
    const client = await host.connect(service);
    client.client.line(service === 'imap' ? 'c CAPABILITY' : 'EHLO x');
    const lines: string[] = [];
    do lines.push(await client.client.response());
    while (!/^c |^250 /.test(lines.at(-1) ?? ''));
    assert.doesNotMatch(lines.join('\n'), /SCRAM|CRAM/);
    assert.match(lines.join('\n'), service === 'imap' ? /AUTH=PLAIN AUTH=LOGIN/ : /AUTH PLAIN LOGIN/);
    for (const mechanism of ['SCRAM-SHA-256', 'SCRAM-SHA-1', 'CRAM-MD5', 'EXTERNAL'])
      assert.match(await client.start(mechanism), /^504 5\.5\.4|^NO \[CANNOT\]/, mechanism);
  });

  test(`${service}: malformed exchanges are refused, and the session goes on`, async (t) => {
    const host = await start(t);
    const bad = service === 'imap' ? /^BAD / : /^501 5\.5\.2 /;
    for (const [mechanism, initial, response] of [
      ['PLAIN', 'no NUL at all', undefined],
      ['PLAIN', `\0${'x'.repeat(600)}\0y`, undefined],
      ['SCRAM-SHA-256', 'nonsense', undefined],
      ['SCRAM-SHA-256', 'n,,n=ana,r=x', 'nonsense'],
      ['SCRAM-SHA-1', 'p=tls-unique,,n=ana,r=x', undefined],
      ['CRAM-MD5', 'early', undefined],
      ['CRAM-MD5', undefined, 'ana nothex'],
    ] as const) {
      const client = await host.connect(service);
      let answer = await client.start(mechanism, initial);
      if (response !== undefined) answer = await client.respond(response);
      assert.match(answer, bad, `${mechanism} ${initial} ${response}`);
      assert.match(await client.logIn(user('plain'), PASSWORD), ok);
      client.client.destroy();
    }
  });

  test(`${service}: an empty password, a user without domain, another case`, async (t) => {
    const host = await LoginHost.start(t, {
      users: { ...USERS, [user('empty')]: '{PLAIN}' },
      settings: { auth_failure_delay: 0, auth_failure_limit: 1_000, auth_default_realm: 'example.test' },
    });
    for (const [name, password, good] of [
      [user('empty'), '', false],
      [user('plain'), '', false],
      ['plain', PASSWORD, true],
      ['PLAIN@Example.TEST', PASSWORD, true],
      [user('plain'), PASSWORD.toUpperCase(), false],
      [`${user('plain')} `, PASSWORD, false],
      ['@example.test', PASSWORD, false],
      ['../plain@example.test', PASSWORD, false],
    ] as const) {
      const answer = await (await host.connect(service)).logIn(name, password);
      if (good) assert.match(answer, ok, name);
      else assert.equal(answer, failed, name);
    }
  });
}

async function logInWith(client: LoginClient, mechanism: string, name: string, password: string): Promise<string> {
  switch (mechanism) {
    case 'PLAIN':
      return client.logIn(name, password);
    case 'LOGIN':
      assert.equal(await client.start('LOGIN'), 'Username:');
      assert.equal(await client.respond(name), 'Password:');
      return client.respond(password);
    case 'CRAM-MD5':
      return cramLogin(client, name, password);
    default:
      return (await scramLogin(client, mechanism === 'SCRAM-SHA-1' ? 'sha1' : 'sha256', name, password)).answer;
  }
}

test('row 34: imap: disable_plaintext_auth decides whether a stranger may log in without TLS', async (t) => {
  for (const [setting, announced, answer] of [
    ['yes', /LOGINDISABLED$/, /^NO \[PRIVACYREQUIRED\]/],
    ['no', /AUTH=PLAIN AUTH=LOGIN$/, /^OK/],
  ] as const) {
    const host = await LoginHost.start(t, { users: USERS, settings: { disable_plaintext_auth: setting } });
    host.remote = '192.0.2.1';
    const client = await host.connect('imap');
    client.client.line('c CAPABILITY');
    assert.match((await client.client.until('c'))[0] ?? '', announced);
    assert.match(await client.logIn(user('plain'), PASSWORD), answer);
    assert.match(
      await (
        await host.connect('imap')
      ).ask(`LOGIN ${user('plain')} {${Buffer.byteLength(PASSWORD)}+}\r\n${Buffer.from(PASSWORD).toString('latin1')}`),
      answer,
    );
  }
});

test('row 34: submission: disable_plaintext_auth decides whether a stranger may log in without TLS', async (t) => {
  for (const [setting, answer] of [
    ['yes', /^504 5\.5\.4 /],
    ['no', /^235 /],
  ] as const) {
    const host = await LoginHost.start(t, { users: USERS, settings: { disable_plaintext_auth: setting } });
    host.remote = '192.0.2.1';
    const client = await host.connect('submission');
    assert.match(await client.logIn(user('plain'), PASSWORD), answer);
  }
});
