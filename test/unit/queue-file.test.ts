// The head of a queue file: what is written is what is read, and nothing else is taken for one.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  folderOf,
  formatHead,
  HASH_AT,
  isQueueId,
  parseHead,
  parsePreamble,
  PREAMBLE,
  type Head,
} from '../../src/queue/store/queue-file.ts';
import type { NewRecipient, QueuedEnvelope } from '../../src/queue/types.ts';
import { fuzzTime, seededRandom } from '../support/random.ts';

const ENVELOPE: QueuedEnvelope = {
  id: '0A1B2C',
  sender: 'eva@example.test',
  arrived: 1_000,
  smtpUtf8: false,
  bodyType: '8BITMIME',
};
const RECIPIENTS: NewRecipient[] = [
  { address: 'ana@remote.test', destination: 'smtp:remote.test' },
  {
    address: 'ü"\n\0x@remote.test'.replace(/[\n\0]/g, ''),
    destination: 'lmtp:unix:/run/x',
    notify: ['FAILURE', 'DELAY'],
    orcpt: 'rfc822;a',
  },
  { address: 'h@remote.test', destination: 'hold:', hold: 'why' },
];

function ok(bytes: Buffer): Head {
  const parsed = parseHead(bytes);
  assert.equal(parsed.kind, 'ok');
  return (parsed as { value: Head }).value;
}

test('a head is read as it was written', () => {
  const { head, places } = formatHead(ENVELOPE, 1234, RECIPIENTS);
  const read = ok(Buffer.concat([head, Buffer.from('Subject: x\r\n')]));
  assert.deepEqual(read.envelope, ENVELOPE);
  assert.deepEqual([read.headLength, read.size, read.sha256], [head.length, 1234, undefined]);
  const marks = ['W', 'W', 'H'];
  assert.deepEqual(
    read.recipients,
    RECIPIENTS.map((recipient, n) => ({ ...recipient, mark: marks[n], place: places[n] })),
  );
  for (const [n, place] of places.entries()) assert.equal(head.toString('latin1', place, place + 2), `${marks[n]}{`);
});

test('the hash and the marks are overwritten in place', () => {
  const { head, places } = formatHead(ENVELOPE, 0, RECIPIENTS);
  head.write('ab'.repeat(32), HASH_AT, 'latin1');
  head.write('D', places[1] ?? 0, 'latin1');
  const read = ok(head);
  assert.equal(read.sha256, 'ab'.repeat(32));
  assert.deepEqual(
    read.recipients.map(({ mark }) => mark),
    ['W', 'D', 'H'],
  );
});

test('a byte at a time: too short until the head is whole', () => {
  const { head } = formatHead(ENVELOPE, 5, RECIPIENTS);
  const file = Buffer.concat([head, Buffer.from('hello')]);
  for (let length = 0; length < head.length; length++) {
    const parsed = parseHead(file.subarray(0, length));
    assert.equal(parsed.kind, 'short', String(length));
    assert.equal((parsed as { need: number }).need, length < PREAMBLE ? PREAMBLE : head.length);
  }
  for (let length = head.length; length <= file.length; length++) assert.equal(ok(file.subarray(0, length)).size, 5);
});

test('what is no head', () => {
  const { head } = formatHead(ENVELOPE, 5, RECIPIENTS);
  const text = head.toString('latin1');
  const lines = text.split('\n');
  /** With the length that is right for it. */
  const made = (...rest: string[]): string => {
    const body = rest.map((line) => `${line}\n`).join('');
    return `${text.slice(0, 14)}${String(PREAMBLE + body.length).padStart(10, '0')}${text.slice(24, PREAMBLE)}${body}`;
  };
  const envelope = JSON.stringify(ENVELOPE);
  const recipient = 'W{"address":"a@b","destination":"smtp:b"}';
  assert.equal(ok(Buffer.from(made(envelope, recipient, ''))).recipients.length, 1);
  const cases: Record<string, string> = {
    'zeros, as a power cut leaves them': '\0'.repeat(500),
    'another version': text.replace('QUEUE 1', 'QUEUE 2'),
    'a mail': 'Received: from x by y\r\n'.repeat(20),
    'a length that is no number': text.replace(/ \d{10} /, ' 00000000x1 '),
    'a length of nothing': text.replace(/ \d{10} /, ' 0000000000 '),
    'a length beyond the limit': text.replace(/ \d{10} /, ' 9999999999 '),
    'a length that is one too small': text.replace(/ \d{10} /, ` ${String(head.length - 1).padStart(10, '0')} `),
    'a hash in upper case': `${text.slice(0, HASH_AT)}${'A'.repeat(64)}${text.slice(HASH_AT + 64)}`,
    'no empty line': made(envelope, recipient),
    'no recipients': made(envelope, ''),
    'an envelope that is no JSON': made('{', recipient, ''),
    'an envelope that is a list': made('[]', recipient, ''),
    'an id that is a path': made(envelope.replace('0A1B2C', '../x'), recipient, ''),
    'no sender': made(envelope.replace('"sender"', '"xender"'), recipient, ''),
    'a sender with a line end': made(envelope.replace('eva@', 'eva\\r\\n@'), recipient, ''),
    'an arrival that is no number': made(envelope.replace('1000', '"x"'), recipient, ''),
    'an arrival that is too big': made(envelope.replace('1000', '1e300'), recipient, ''),
    'a body type of its own': made(envelope.replace('8BITMIME', 'X'), recipient, ''),
    'RET of its own': made(envelope.replace('}', ',"ret":"X"}'), recipient, ''),
    'an account that is no text': made(envelope.replace('}', ',"account":{}}'), recipient, ''),
    'REQUIRETLS that is no boolean': made(envelope.replace('}', ',"requireTls":1}'), recipient, ''),
    'a mark of its own': made(envelope, recipient.replace('W', 'X'), ''),
    'a recipient without a mark': made(envelope, recipient.slice(1), ''),
    'a recipient without an address': made(envelope, 'W{"destination":"smtp:b"}', ''),
    'a recipient without a destination': made(envelope, 'W{"address":"a@b"}', ''),
    'a recipient with NUL': made(envelope, recipient.replace('a@b', 'a\\u0000@b'), ''),
    'NOTIFY of its own': made(envelope, recipient.replace('}', ',"notify":["X"]}'), ''),
    'NOTIFY that is no list': made(envelope, recipient.replace('}', ',"notify":"NEVER"}'), ''),
    'ORCPT that is no text': made(envelope, recipient.replace('}', ',"orcpt":1}'), ''),
    'an empty line between': made(envelope, recipient, '', recipient, ''),
  };
  assert.equal(lines.at(-1), '');
  for (const [name, bytes] of Object.entries(cases)) assert.equal(parseHead(Buffer.from(bytes, 'latin1')).kind, 'damaged', name);
});

test('damaged heads: fuzz', () => {
  const { until, seed } = fuzzTime(500);
  const { head } = formatHead(ENVELOPE, 5, RECIPIENTS);
  for (let n = seed; performance.now() < until; n++) {
    const random = seededRandom(n);
    let bytes = Buffer.from(head);
    for (let change = random.below(4); change >= 0; change--) {
      const at = random.below(bytes.length);
      const to = Math.min(bytes.length, at + random.below(40));
      switch (random.below(4)) {
        case 0:
          bytes[at] = random.below(256);
          break;
        case 1:
          bytes.fill(0, at, to);
          break;
        case 2:
          bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(to)]);
          break;
        default:
          bytes = Buffer.concat([bytes.subarray(0, to), bytes.subarray(at)]);
      }
      if (bytes.length === 0) break;
    }
    const parsed = parseHead(bytes);
    if (parsed.kind === 'short') assert.ok(parsed.need > bytes.length, `seed ${n}`);
    if (parsed.kind !== 'ok') continue;
    // What is taken for a head can be written again, and is the same then.
    const { envelope, size, recipients } = parsed.value;
    assert.ok(isQueueId(envelope.id), `seed ${n}`);
    const again = ok(formatHead(envelope, size, recipients).head);
    assert.deepEqual(again.envelope, envelope, `seed ${n}`);
    assert.deepEqual(
      again.recipients.map(({ address, destination }) => [address, destination]),
      recipients.map(({ address, destination }) => [address, destination]),
      `seed ${n}`,
    );
  }
});

test('ids are spread over folders, and are fit for file names', () => {
  const folders = new Set(Array.from({ length: 2_000 }, (_, n) => folderOf(`A${n}`)));
  assert.equal(folders.size, 256);
  for (const folder of folders) assert.match(folder, /^[0-9a-f]{2}$/);
  for (const id of ['', '.', '..', 'a/b', 'a b', 'a\0', 'é', 'A'.repeat(65)]) assert.equal(isQueueId(id), false, id);
  assert.equal(parsePreamble(Buffer.alloc(0)).kind, 'short');
});
