// Who is logged in stays in as long as the files say so (RELIABILITY row 35), and sees what is theirs.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ANSWERS, LoginHost, SERVICES } from '../support/login-host.ts';
import { eventually } from '../support/mail-host.ts';

const ANA = 'ana@example.test';
const BOB = 'bob@example.test';
const USERS = { [ANA]: '{PLAIN}ana-secret-1', [BOB]: '{PLAIN}bob-secret-1' };

/** Waits until the accounts have been looked at some times more. */
async function looks(host: LoginHost): Promise<void> {
  const count = (): number => host.clock.waits.filter((ms) => ms === 2_000).length;
  const before = count();
  await eventually(async () => count() >= before + 4, 'the accounts are looked at');
}

for (const service of SERVICES) {
  const { ok, failed, end } = ANSWERS[service];

  test(`row 35: ${service}: sessions end when the password changes or the user is removed; those of others go on`, async (t) => {
    const host = await LoginHost.start(t, { users: USERS });
    const enter = async (user: string, password: string) => {
      const client = await host.connect(service);
      assert.match(await client.logIn(user, password), ok);
      return client;
    };
    const [first, second, bob] = [
      await enter(ANA, 'ana-secret-1'),
      await enter(ANA, 'ana-secret-1'),
      await enter(BOB, 'bob-secret-1'),
    ];
    await host.setUser(ANA, '{PLAIN}ana-secret-2');
    for (const client of [first, second]) {
      assert.match(await client.answer(), end);
      await client.client.closed();
    }
    assert.equal(await (await host.connect(service)).logIn(ANA, 'ana-secret-1'), failed);
    const again = await enter(ANA, 'ana-secret-2');
    // The same files, written anew.
    await host.setUser(BOB, USERS[BOB] ?? '');
    await looks(host);
    assert.match(await bob.ask('NOOP'), /OK|Ok/);
    assert.match(await again.ask('NOOP'), /OK|Ok/);
    await host.setMap([ANA]);
    assert.match(await bob.answer(), end);
    await bob.client.closed();
    assert.equal(await (await host.connect(service)).logIn(BOB, 'bob-secret-1'), failed);
    assert.match(await again.ask('NOOP'), /OK|Ok/);
    assert.doesNotMatch(host.log, /secret-/);
  });

  test(`row 35: ${service}: a session from before a reload ends too`, async (t) => {
    const host = await LoginHost.start(t, { users: USERS });
    const client = await host.connect(service);
    assert.match(await client.logIn(ANA, 'ana-secret-1'), ok);
    host.reload();
    await looks(host);
    assert.match(await client.ask('NOOP'), /OK|Ok/);
    await host.setUser(ANA, '!{PLAIN}ana-secret-1');
    assert.match(await client.answer(), end);
    await client.client.closed();
  });

  test(`row 32: ${service}: failures are remembered over a reload`, async (t) => {
    const host = await LoginHost.start(t, { users: USERS, settings: { auth_failure_limit: 2 } });
    assert.equal(await (await host.connect(service)).logIn(ANA, 'guess'), failed);
    host.reload();
    assert.match(await (await host.connect(service)).logIn(ANA, 'guess'), end);
  });
}

test('row 35: nobody reads the mail of another: by name, by path, by acting for them', async (t) => {
  const host = await LoginHost.start(t, { users: USERS });
  const bob = await host.connect('imap');
  assert.match(await bob.logIn(BOB, 'bob-secret-1'), ANSWERS.imap.ok);
  assert.match(await bob.ask('CREATE private'), /^OK/);
  assert.match(await bob.ask('APPEND private {14+}\r\nSubject: b\r\n\r\n'), /^OK/);
  const ana = await host.connect('imap');
  assert.equal(
    await ana.ask(`AUTHENTICATE PLAIN ${Buffer.from(`${BOB}\0${ANA}\0ana-secret-1`).toString('base64')}`),
    ANSWERS.imap.failed,
  );
  assert.match(await ana.logIn(ANA, 'ana-secret-1'), ANSWERS.imap.ok);
  assert.match(await ana.ask(`LOGIN ${BOB} bob-secret-1`), /^BAD/);
  for (const name of [
    'private',
    '../bob/private',
    '../bob/.private',
    '../bob',
    '..',
    '.',
    '/etc',
    'bob@example.test',
    '~bob',
    '"#user.bob.private"',
    'user.bob.private',
    `"${host.home(BOB)}"`,
    '&AC4ALg-/bob',
    'INBOX/../../bob',
  ])
    for (const command of ['SELECT', 'EXAMINE', 'STATUS', 'DELETE']) {
      const answer = await ana.ask(`${command} ${name}${command === 'STATUS' ? ' (MESSAGES)' : ''}`);
      assert.match(answer, /^NO /, `${command} ${name}`);
    }
  for (const pattern of ['*', '../*', '../bob/*', '/*', '%']) {
    ana.client.line(`x LIST "" "${pattern}"`);
    for (const line of await ana.client.until('x')) assert.doesNotMatch(line, /private|bob/, pattern);
  }
  assert.match(await bob.ask('STATUS private (MESSAGES)'), /^OK/);
});
