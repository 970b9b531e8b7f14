// Guessing passwords over IMAP and submission (RELIABILITY rows 32, 33): answers get slow, then the address is sent away; nothing tells who exists.
import assert from 'node:assert/strict';
import { hashSync } from '@node-rs/argon2';
import { test } from 'node:test';
import { ANSWERS, LoginHost, SERVICES, type Service } from '../support/login-host.ts';

const ANA = 'ana@example.test';
const SECRET = 'right-password-of-ana';
const GUESS = 'guessed-password';

/** Waits that were asked for, without those of who watches sessions: the delays of failures, less what the check took. */
const delays = (host: LoginHost): number[] => host.clock.waits.filter((ms) => ms !== 2_000 && ms !== 300);

/** Guesses in one session until the server closes it; gives the answers and how long each took. */
async function guessUntilClosed(host: LoginHost, service: Service): Promise<{ answers: string[]; took: number[] }> {
  const client = await host.connect(service);
  const answers: string[] = [];
  const took: number[] = [];
  for (let i = 0; i < 20; i++) {
    const began = performance.now();
    answers.push(await client.logIn(i % 2 === 0 ? ANA : `nobody${i}@example.test`, GUESS));
    took.push(performance.now() - began);
    if (ANSWERS[service].end.test(answers.at(-1) ?? '')) {
      await client.client.closed();
      return { answers, took };
    }
  }
  return { answers, took };
}

async function logIn(host: LoginHost, service: Service, remote: string, password = SECRET): Promise<string> {
  host.remote = remote;
  return (await host.connect(service)).logIn(ANA, password);
}

for (const service of SERVICES) {
  const { ok, failed, end } = ANSWERS[service];

  test(`row 32: ${service}: wrong passwords are answered ever more slowly, the tenth ends the session`, async (t) => {
    const host = await LoginHost.start(t, { users: { [ANA]: `{PLAIN}${SECRET}` } });
    // The hashing threads have started.
    assert.match(await logIn(host, service, '127.0.0.6'), ok);
    host.remote = '127.0.0.7';
    const { answers, took } = await guessUntilClosed(host, service);
    assert.equal(answers.length, 10);
    assert.deepEqual(new Set(answers.slice(0, 9)), new Set([failed]));
    assert.match(answers[9] ?? '', end);
    // What the check took is part of the delay.
    const waited = delays(host);
    for (const [i, wanted] of [2_000, 4_000, 8_000, ...Array<number>(7).fill(15_000)].entries())
      assert.ok((waited[i] ?? 0) <= wanted && wanted - (waited[i] ?? 0) <= (took[i] ?? 0), `${i}: ${waited[i]} for ${wanted}`);
    assert.equal(waited.length, 10);
    // Sent away at once, whoever it is; other addresses of the host are not.
    assert.match(await logIn(host, service, '127.0.0.7'), end);
    assert.match(await logIn(host, service, '127.0.0.8'), ok);
    assert.equal(delays(host).length, 10);
    assert.doesNotMatch(host.log, new RegExp(`${SECRET}|${GUESS}`));
  });

  test(`row 32: ${service}: IPv6 peers are counted by their /64`, async (t) => {
    const host = await LoginHost.start(t, { users: { [ANA]: `{PLAIN}${SECRET}` }, settings: { disable_plaintext_auth: 'no' } });
    for (let i = 0; i < 10; i++) {
      const answer = await logIn(host, service, `2001:db8:0:1:${i}::${i + 1}`, GUESS);
      if (i < 9) assert.equal(answer, failed);
      else assert.match(answer, end);
    }
    assert.match(await logIn(host, service, '2001:db8:0:1:ffff::ffff'), end);
    assert.match(await logIn(host, service, '2001:db8:0:2::1'), ok);
    assert.match(await logIn(host, service, '::ffff:192.0.2.1'), ok);
  });

  test(`row 32: ${service}: an address that has just logged in is never locked out`, async (t) => {
    const host = await LoginHost.start(t, { users: { [ANA]: `{PLAIN}${SECRET}` } });
    assert.match(await logIn(host, service, '127.0.0.9'), ok);
    for (let i = 0; i < 12; i++) assert.equal(await logIn(host, service, '127.0.0.9', GUESS), failed, `guess ${i}`);
    assert.ok((delays(host).at(-1) ?? 0) > 14_000, 'but guessing stays slow');
    assert.match(await logIn(host, service, '127.0.0.9'), ok);
  });

  test(
    `row 33: ${service}: unknown and known users get the same answer in the same time, and so do locked ones`,
    { timeout: 120_000 },
    async (t) => {
      const cost = { memoryCost: 4_096, timeCost: 2, parallelism: 1 };
      const host = await LoginHost.start(t, {
        users: {
          [ANA]: `{ARGON2ID}${hashSync(SECRET, cost)}`,
          'locked@example.test': `!{ARGON2ID}${hashSync(SECRET, cost)}`,
          'yescrypt@example.test': '$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7',
        },
        settings: { auth_failure_delay: 0, auth_failure_limit: 10_000, smtpd_hard_error_limit: 10_000 },
      });
      const client = await host.connect(service);
      const timed = async (user: string): Promise<number> => {
        const began = performance.now();
        assert.equal(await client.logIn(user, GUESS), failed);
        return performance.now() - began;
      };
      // The first look shows what accounts of this host cost.
      await timed(ANA);
      for (const [user, pairs] of [
        ['nobody@example.test', service === 'imap' ? 500 : 150],
        ['locked@example.test', 40],
        ['yescrypt@example.test', 40],
        ['ana@unknown.test', 40],
        ['ana', 40],
      ] as const) {
        // In pairs, as the load of the machine changes; now this one first, now that.
        const factors: number[] = [];
        for (let i = 0; i < pairs; i++) {
          const [first, second] = [await timed(i % 2 === 0 ? user : ANA), await timed(i % 2 === 0 ? ANA : user)];
          factors.push(i % 2 === 0 ? first / second : second / first);
        }
        const median = factors.sort((a, b) => a - b)[Math.floor(pairs / 2)] ?? 0;
        assert.ok(median > 0.5 && median < 2, `${user} takes ${median.toFixed(2)} times as long as a known one`);
      }
      assert.match(host.log, /"auth\.scheme\.unsupported","user":"yescrypt@example\.test","reason":"yescrypt/);
      assert.doesNotMatch(host.log, new RegExp(`${SECRET}|${GUESS}|F5Jx5fExrKuPp53xLKQ`));
    },
  );
}
