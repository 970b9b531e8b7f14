import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ByteReader } from '../../src/imap/wire/byte-reader.ts';
import { readCommand, type ReadCommand } from '../../src/imap/wire/command-reader.ts';
import { ResponseWriter } from '../../src/imap/wire/response-writer.ts';
import { WireEnd } from '../../src/imap/wire/wire-end.ts';
import { literalAtEnd } from '../../src/imap/syntax/literal.ts';

const LIMITS = { line: 200, literals: 100 };

/** Reads every command of `bytes`, pushed in pieces of `step` bytes; gives them with what was asked for. */
async function commands(bytes: Buffer, step: number): Promise<string[]> {
  const reader = new ByteReader(1_000);
  const out: string[] = [];
  const reading = (async () => {
    for (;;) {
      const read: ReadCommand = await readCommand(reader, await reader.line(LIMITS.line), LIMITS, async () => void out.push('+'));
      out.push(`${read.kind} ${read.bytes.toString('latin1')}`);
      if (read.kind === 'message')
        out.push(`message ${(await reader.bytes(read.literal.size)).toString('latin1')}|${(await reader.line(200)).toString()}`);
    }
  })();
  for (let at = 0; at < bytes.length; at += step) {
    reader.push(bytes.subarray(at, at + step));
    await new Promise((resolve) => setImmediate(resolve));
  }
  reader.close();
  await assert.rejects(reading, WireEnd);
  return out;
}

test('commands, literals and messages come out the same however the bytes arrive', async () => {
  const bytes = Buffer.from(
    'a NOOP\r\nb LOGIN {3}\r\nfoo {4+}\r\nb\r\nx\r\nc APPEND {5}\r\nINBOX (\\Seen) {7}\r\n{5}\r\nab\r\nd NOOP\ne X {5}x\r\nf X "{5}"\r\ng X {101}\r\nh {3}\r\ni X {}\r\n',
    'latin1',
  );
  const expected = [
    'complete a NOOP',
    '+',
    'complete b LOGIN {3}\r\nfoo {4+}\r\nb\r\nx',
    '+',
    'message c APPEND {5}\r\nINBOX (\\Seen) ',
    'message {5}\r\nab|',
    'complete d NOOP',
    'complete e X {5}x',
    'complete f X "{5}"',
    'refused g X ',
    'refused h {3}',
    'complete i X {}',
  ];
  for (const step of [1, 2, 3, 7, 64, bytes.length])
    assert.deepEqual(await commands(bytes, step), expected, `in steps of ${step}`);
});

test('a line at the limit passes, one byte more does not, with and without its end', async () => {
  const line = async (...pieces: string[]): Promise<string> => {
    const reader = new ByteReader(1_000);
    for (const piece of pieces) reader.push(Buffer.from(piece));
    return (await reader.line(10)).toString();
  };
  assert.equal(await line('0123456789\r\n'), '0123456789');
  assert.equal(await line('0123456789\n'), '0123456789');
  assert.equal(await line('012345', '6789', '\r', '\nmore'), '0123456789');
  for (const pieces of [['01234567890\n'], ['01234567890\r\n'], ['0123456789ab']])
    await assert.rejects(line(...pieces), (error) => error instanceof WireEnd && error.reason === 'line-too-long');
});

test('backpressure: told when full, and again when there is room', async () => {
  const told: boolean[] = [];
  const reader = new ByteReader(100, (full) => told.push(full));
  reader.push(Buffer.alloc(99, 'x'));
  assert.deepEqual(told, []);
  reader.push(Buffer.alloc(50, 'x'));
  assert.deepEqual(told, [true]);
  await reader.bytes(60);
  assert.deepEqual(told, [true]);
  await reader.bytes(50);
  assert.deepEqual(told, [true, false]);
  assert.equal(reader.buffered, 39);
});

test('a stop wins over what is buffered; a close lets it be taken first; discard forgets', async () => {
  const reader = new ByteReader(100);
  reader.push(Buffer.from('a\r\nb\r\nc'));
  assert.equal((await reader.line(10)).toString(), 'a');
  assert.equal(reader.discard(), 4);
  reader.push(Buffer.from('d\r\ne'));
  reader.close();
  assert.equal((await reader.line(10)).toString(), 'd');
  await assert.rejects(reader.line(10), (error) => error instanceof WireEnd && error.reason === 'closed');
  const stopped = new ByteReader(100);
  const waiting = stopped.line(10);
  stopped.stop(new WireEnd('interrupted'));
  await assert.rejects(waiting, (error) => error instanceof WireEnd && error.reason === 'interrupted');
  stopped.push(Buffer.from('x\r\n'));
  await assert.rejects(stopped.line(10), WireEnd);
});

test('a response line cannot be broken: CR, LF and NUL are refused at emit', async () => {
  const sent: string[] = [];
  const writer = new ResponseWriter(async (bytes) => void sent.push(bytes.toString('latin1')));
  for (const bad of ['* OK a\r\nb', '* OK \n', '* OK \0']) assert.throws(() => writer.line(bad));
  writer.line('* OK caf\xe9');
  writer.text('x');
  await writer.breathe();
  assert.deepEqual(sent, []);
  await writer.flush();
  assert.deepEqual(sent, ['* OK caf\xe9\r\nx']);
  writer.raw(Buffer.alloc(20_000));
  await writer.breathe();
  assert.equal(sent.length, 2);
});

test('literal announcements', () => {
  const table: [string, unknown][] = [
    ['a {5}', { size: 5, nonSync: false, at: 2 }],
    ['a {5+}', { size: 5, nonSync: true, at: 2 }],
    ['{0}', { size: 0, nonSync: false, at: 0 }],
    ['a {4294967295+}', { size: 4_294_967_295, nonSync: true, at: 2 }],
    ['a {4294967296}', 'bad'],
    [`a {${'9'.repeat(40)}}`, 'bad'],
    ['a {}', undefined],
    ['a {+}', undefined],
    ['a {-5}', undefined],
    ['a {5', undefined],
    ['5}', undefined],
    ['a {5++}', undefined],
    ['', undefined],
  ];
  for (const [line, expected] of table) assert.deepEqual(literalAtEnd(Buffer.from(line)), expected, line);
});

test('row 21: however much a peer sends, a busy session holds its high water and one chunk of it', async () => {
  let full = false;
  const reader = new ByteReader(131_072, (now) => (full = now));
  const chunk = Buffer.alloc(65_536, '(');
  let most = 0;
  for (let sent = 0, taken = 0; sent < 10_000_000;) {
    // A paused socket delivers nothing: the kernel's window holds the peer back.
    if (!full) {
      reader.push(chunk);
      sent += chunk.length;
    } else taken += (await reader.some(100_000)).length;
    most = Math.max(most, reader.buffered);
    assert.ok(taken <= sent);
  }
  assert.ok(most <= 131_072 + 65_536, `${most} bytes held`);
});
