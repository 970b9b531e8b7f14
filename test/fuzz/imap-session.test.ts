// Row 25: seeded nonsense in every session state, over a real connection: no crash, no stalled loop, no answer that breaks its line.
// FUZZ_SECONDS makes it longer, FUZZ_SEED repeats a run.
import assert from 'node:assert/strict';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { test } from 'node:test';
import { sleep } from '../../src/lib/async.ts';
import { ImapClient } from '../support/imap-script.ts';
import { ImapTestServer } from '../support/imap-server.ts';

const SECONDS = Number(process.env['FUZZ_SECONDS'] ?? 1);
const SEED = Number(process.env['FUZZ_SEED'] ?? 20_261_124);

/** mulberry32: small, seeded. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) % below;
  };
}

const COMMANDS = [
  ...[
    'CAPABILITY',
    'NOOP',
    'ID NIL',
    'ID ("a" "b")',
    'ENABLE X',
    'NAMESPACE',
    'CHECK',
    'EXPUNGE',
    'IDLE\r\nDONE',
    'UNSELECT',
    'SELECT INBOX',
  ],
  ...[
    'LOGIN ana@example.test wrong',
    'AUTHENTICATE PLAIN AAAA',
    'AUTHENTICATE PLAIN\r\n*',
    'SELECT {5+}\r\nINBOX',
    'EXAMINE inbox',
    'LIST "" *',
    'LIST (SPECIAL-USE) "" (a %) RETURN (CHILDREN)',
  ],
  ...[
    'LSUB "" %',
    'STATUS INBOX (MESSAGES UNSEEN)',
    'CREATE f&AOk-.x',
    'DELETE f&AOk-.x',
    'RENAME a b',
    'SUBSCRIBE INBOX',
    'UNSUBSCRIBE b',
  ],
  ...[
    'FETCH 1:* (FLAGS UID ENVELOPE BODYSTRUCTURE INTERNALDATE RFC822.SIZE)',
    'FETCH 1 BODY.PEEK[1.2.HEADER.FIELDS (A "b")]<3.7>',
    'UID FETCH 1:4294967295 (BODY[]<0.10> RFC822.TEXT)',
    'FETCH * FULL',
  ],
  ...[
    'STORE 1 +FLAGS.SILENT (\\Seen a)',
    'UID STORE 1:* -FLAGS \\Deleted',
    'COPY 1 INBOX',
    'UID COPY * nosuch',
    'UID EXPUNGE 2:3',
    'MOVE 9 x',
  ],
  ...[
    'SEARCH CHARSET UTF-8 OR (SUBJECT x BODY "y") NOT (1:* UID 2:*) SINCE 1-Jan-2020',
    'UID SEARCH ALL',
    'APPEND INBOX (\\Seen) "01-Jan-2026 00:00:00 +0000" {11+}\r\nSubject: x\r\n',
  ],
] as const;
const PIECES = [
  '(',
  ')',
  '[',
  ']',
  '{',
  '}',
  '"',
  '\\',
  '*',
  '%',
  '\r',
  '\n',
  '\0',
  ' ',
  '  ',
  '<',
  '>',
  '.',
  ':',
  ',',
  '+',
  '{5}',
  '{99999999999}',
  '{3+}\r\nab',
  'NIL',
  '4294967296',
  '\x80\xff',
  'x'.repeat(300),
  '('.repeat(80),
  'BODY[',
  'UID ',
];

function mutate(command: string, below: (n: number) => number): string {
  let text = command;
  for (let i = below(4); i > 0; i--) {
    const at = below(text.length + 1);
    const end = Math.min(text.length, at + below(6));
    const piece = PIECES[below(PIECES.length)] ?? '';
    text =
      [
        text.slice(0, at) + piece + text.slice(at),
        text.slice(0, at) + text.slice(end),
        text.slice(0, end) + text.slice(at),
        text.slice(0, at) + piece + text.slice(end),
      ][below(4)] ?? '';
  }
  return text;
}

/** Plays `count` mutated commands; a connection that was ended is opened again. */
async function storm(
  server: ImapTestServer,
  prepare: readonly string[],
  below: (n: number) => number,
  until: number,
): Promise<number> {
  let played = 0;
  while (Date.now() < until) {
    const client = await ImapClient.connect(server.port);
    try {
      await client.response();
      for (const [i, text] of prepare.entries()) await client.command(`p${i}`, text);
      const sent: string[] = [];
      for (let i = 0; i < 15; i++, played++) {
        const text = `t${i} ${mutate(COMMANDS[below(COMMANDS.length)] ?? '', below)}`;
        sent.push(text);
        client.line(text);
      }
      // Whatever state all this leaves (half a literal, IDLE, log-out): the connection ends, one way or the other.
      client.line('DONE');
      client.line('z LOGOUT');
      await Promise.race([client.closed().catch(() => undefined), sleep(150)]);
      for (const line of client.unread.split('\r\n').slice(0, -1))
        assert.ok(!line.includes('\0'), JSON.stringify({ line, sent }));
    } finally {
      client.destroy();
    }
  }
  return played;
}

for (const [name, prepare] of [
  ['before login', []],
  ['after login', ['LOGIN ana@example.test secret']],
  ['with a mailbox selected', ['LOGIN ana@example.test secret', 'SELECT INBOX']],
  ['with a mailbox examined', ['LOGIN ana@example.test secret', 'EXAMINE INBOX']],
] as const) {
  test(`row 25: nonsense ${name}`, async (t) => {
    const server = await ImapTestServer.start(t, { limits: { commandTimeout: 1_000 } });
    await server.deliver('Subject: a\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n', 'From: x\n\ny\n', 'z');
    const delay = monitorEventLoopDelay({ resolution: 5 });
    delay.enable();
    const played = await storm(server, prepare, random(SEED + prepare.length), Date.now() + SECONDS * 700);
    delay.disable();
    t.diagnostic(`${played} commands`);
    assert.ok(played > 0);
    assert.deepEqual(
      server.events.filter((event) => event.event === 'imap.crash'),
      [],
    );
    // The row says 100 ms; ten times that is asserted (other programs run beside).
    assert.ok(delay.max < 1e9, `loop stalled for ${delay.max / 1e6} ms`);
    const client = await ImapClient.connect(server.port);
    await client.response();
    assert.match((await client.command('a', 'LOGIN ana@example.test secret')).join(), /^a OK/);
    client.destroy();
  });
}
