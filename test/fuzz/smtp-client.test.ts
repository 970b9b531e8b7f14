// Row 25: servers that say seeded nonsense, a byte or a lump at a time: each delivery ends with an outcome for each recipient, none is told
// delivered before the final dot was read and a 2xx sent, nothing stalls. FUZZ_SECONDS makes it longer, FUZZ_SEED repeats a run.
import assert from 'node:assert/strict';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { test, type TestContext } from 'node:test';
import { yieldToLoop } from '../../src/lib/async.ts';
import { parseReply } from '../../src/queue/client/reply.ts';
import { testAgent } from '../support/delivery.ts';
import { fuzzTime, seededRandom, type Random } from '../support/random.ts';

const USUAL = {
  greeting: '220 mx.test ESMTP\r\n',
  EHLO: '250-mx.test\r\n250-PIPELINING\r\n250-SIZE 1000000\r\n250 8BITMIME\r\n',
  HELO: '250 mx.test\r\n',
  MAIL: '250 2.1.0 Ok\r\n',
  RCPT: '250 2.1.5 Ok\r\n',
  DATA: '354 go\r\n',
  RSET: '250 2.0.0 Ok\r\n',
  dot: '250 2.0.0 queued\r\n',
} as const;
const PIECES = [
  '250',
  '354',
  '421 ',
  '450-',
  '550 5.1.1 ',
  '-',
  ' ',
  '\r\n',
  '\n',
  '\r',
  '\0',
  '2',
  '\xff',
  'SIZE 1',
  'STARTTLS',
  'x'.repeat(300),
  '4.7.1',
];

function mutate(reply: string, random: Random): string {
  let text = reply;
  for (let n = random.below(4); n >= 0; n--) {
    const at = random.below(text.length + 1);
    const cut = random.below(3) === 0 ? random.below(6) : 0;
    text = text.slice(0, at) + (random.below(3) === 0 ? '' : random.pick(PIECES)) + text.slice(at + cut);
  }
  return text;
}

interface Scripted {
  readonly hop: string;
  /** Deliveries whose final dot was read and answered with what begins with 2. */
  taken: number;
}

/** Answers by `reply`, in pieces as `pieces` cuts them. */
async function server(
  t: TestContext,
  reply: (verb: keyof typeof USUAL) => string,
  pieces: (text: string) => string[],
): Promise<Scripted> {
  const result = { hop: '', taken: 0 };
  const serve = async (socket: Socket): Promise<void> => {
    let input = '';
    let data = false;
    const say = async (verb: keyof typeof USUAL): Promise<void> => {
      const text = reply(verb);
      if (verb === 'dot' && /(^|\n)2\d\d/.test(text)) result.taken++;
      for (const piece of pieces(text)) {
        socket.write(Buffer.from(piece, 'latin1'));
        await yieldToLoop();
      }
      if (verb === 'DATA') data = /(^|\n)3\d\d/.test(text);
    };
    socket.setNoDelay(true).on('error', () => undefined);
    await say('greeting');
    for await (const chunk of socket.setEncoding('latin1')) {
      input += chunk as string;
      for (let end; (end = input.indexOf('\r\n')) >= 0;) {
        const line = input.slice(0, end);
        input = input.slice(end + 2);
        const verb = line.split(' ')[0] as keyof typeof USUAL;
        if (!data) await (verb in USUAL ? say(verb) : socket.end());
        else if (line === '.') {
          data = false;
          await say('dot');
        }
      }
    }
    socket.end();
  };
  const sockets = new Set<Socket>();
  const listening = createServer((socket) => {
    sockets.add(socket);
    serve(socket).catch(() => undefined);
  });
  await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    listening.close();
  });
  result.hop = `smtp:[127.0.0.1]:${(listening.address() as AddressInfo).port}`;
  return result;
}
const limits = {
  smtp_helo_timeout: 60,
  smtp_mail_timeout: 60,
  smtp_rcpt_timeout: 60,
  smtp_data_init_timeout: 60,
  smtp_data_done_timeout: 60,
  smtp_rset_timeout: 60,
};
const to = ['a@x.test', 'b@x.test', 'c@x.test'];

test('replies that come a byte at a time, or all in odd lumps, are the same replies', async (t) => {
  const whole = { ...USUAL, RCPT: '550-5.1.1 no\r\n550-5.1.1 such\r\n550 5.1.1 user\r\n' };
  for (const [replies, kind] of [
    [USUAL, 'delivered'],
    [whole, 'failed'],
  ] as const) {
    const random = seededRandom(7);
    const lumps = (text: string): string[] => text.match(/[^]{1,3}/g) ?? [];
    for (const pieces of [
      (text: string) => [...text],
      lumps,
      (text: string) =>
        [text.slice(0, random.below(text.length)), text].map((part, i, [first = '']) =>
          i === 0 ? part : text.slice(first.length),
        ),
    ]) {
      const { hop } = await server(t, (verb) => replies[verb], pieces);
      const { outcomes } = await testAgent(t).deliver({ hop, to });
      assert.deepEqual(
        Object.values(outcomes).map((outcome) => outcome.kind),
        [kind, kind, kind],
      );
    }
  }
});

test('row 25: nonsense for replies', async (t) => {
  const { until, seed } = fuzzTime(2_000);
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  let rounds = 0;
  for (let at = seed; performance.now() < until; at++, rounds++) {
    const random = seededRandom(at);
    const target = random.pick(Object.keys(USUAL) as (keyof typeof USUAL)[]);
    const script = await server(
      t,
      (verb) => (verb === target || random.below(20) === 0 ? mutate(USUAL[verb], random) : USUAL[verb]),
      (text) => (random.below(4) === 0 ? [...text] : [text]),
    );
    const agent = testAgent(t, { limits });
    const { outcomes } = await agent.deliver({ hop: script.hop, to });
    const kinds = Object.values(outcomes).map((outcome) => outcome.kind);
    assert.equal(kinds.length, 3, `seed ${at}`);
    for (const outcome of Object.values(outcomes)) {
      if (outcome.kind === 'delivered') assert.ok(script.taken > 0, `seed ${at}: delivered, and never taken`);
      else
        assert.match(outcome.status, outcome.kind === 'failed' ? /^5\.\d{1,3}\.\d{1,3}$/ : /^4\.\d{1,3}\.\d{1,3}$/, `seed ${at}`);
      assert.doesNotMatch(JSON.stringify(outcome), /\\u00[01]|[\x7f-\x9f]/, `seed ${at}`);
    }
    await agent.agent.close();
  }
  delay.disable();
  assert.ok(rounds > 0);
  t.diagnostic(`${rounds} rounds from seed ${seed}; longest turn ${Math.round(delay.max / 1e6)} ms`);
});

test('row 25: parseReply takes anything', () => {
  const { until, seed } = fuzzTime(300);
  for (let at = seed; performance.now() < until; at++) {
    const random = seededRandom(at);
    let text = '';
    for (let n = random.below(12); n > 0; n--) text += random.pick(PIECES);
    const reply = parseReply(text);
    if (!reply) continue;
    assert.ok(reply.code >= 200 && reply.code < 600, `seed ${at}`);
    assert.match(reply.status, /^[2-5]\.\d{1,3}\.\d{1,3}$/, `seed ${at}`);
    assert.ok(reply.text.length <= 600 && !/[\0-\x1f\x7f-\x9f]/.test(reply.text), `seed ${at}`);
  }
});
