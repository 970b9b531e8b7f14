import assert from 'node:assert/strict';
import { test } from 'node:test';
import { downgrade } from '../../src/message/downgrade.ts';
import { memorySource } from '../../src/message/source.ts';
import { Base64Encoder, base64Size, QuotedPrintableEncoder } from '../../src/message/transfer-encoder.ts';
import { transferDecoder } from '../../src/message/transfer-encoding.ts';
import { readAll } from '../support/message-source.ts';
import { requireProgram, run } from '../support/programs.ts';
import { seededRandom, type Random } from '../support/random.ts';
import { tempFolder } from '../support/temp-folder.ts';

const crlf = (...lines: string[]): Buffer => Buffer.from(lines.map((line) => `${line}\r\n`).join(''));

async function downgraded(folder: string, message: Buffer, piece = message.length): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for (let at = 0; at < message.length; at += piece) pieces.push(message.subarray(at, at + piece));
  const result = await downgrade(memorySource(...pieces), folder);
  const bytes = await readAll(result);
  assert.equal(bytes.length, result.size);
  await result.dispose();
  return bytes;
}

const MIXED = crlf(
  'From: a@example.test',
  'MIME-Version: 1.0',
  'Content-Type: multipart/mixed; boundary=o',
  'Content-Transfer-Encoding: 8bit',
  '',
  '--o',
  'Content-Type: text/plain; charset=utf-8',
  'Content-Transfer-Encoding: 8bit',
  'X-After: kept',
  '',
  'año = ',
  '',
  '--o',
  'Content-Type: multipart/alternative; boundary=i',
  '',
  '--i',
  'Content-Type: text/plain; charset=utf-8',
  '',
  'Привет, мир',
  '--i',
  'Content-Type: text/html',
  'Content-Transfer-Encoding: 7bit',
  '',
  '<p>plain</p>',
  '--i--',
  '--o',
  'Content-Type: message/rfc822',
  'Content-Transfer-Encoding: 8bit',
  '',
  'Subject: inside',
  'MIME-Version: 1.0',
  'Content-Type: application/x-raw',
  'Content-Transfer-Encoding: 8BIT',
  '',
  'ÿþý',
  '--o',
  'Content-Type: message/global',
  '',
  'Subject: ñ',
  '',
  'ñ',
  '--o--',
);

test('8-bit parts become quoted-printable or base64, in multiparts and embedded messages; labels are put right', async (t) => {
  const text = (await downgraded(await tempFolder(t), MIXED)).toString('latin1');
  assert.doesNotMatch(text, /[\x80-\xff]/);
  assert.equal(
    text,
    crlf(
      'From: a@example.test',
      'MIME-Version: 1.0',
      'Content-Type: multipart/mixed; boundary=o',
      'Content-Transfer-Encoding: 7bit',
      '',
      '--o',
      'Content-Type: text/plain; charset=utf-8',
      'Content-Transfer-Encoding: quoted-printable',
      'X-After: kept',
      '',
      'a=C3=B1o =3D=20',
      '',
      '--o',
      'Content-Type: multipart/alternative; boundary=i',
      '',
      '--i',
      'Content-Type: text/plain; charset=utf-8',
      'Content-Transfer-Encoding: base64',
      '',
      Buffer.from('Привет, мир').toString('base64'),
      '--i',
      'Content-Type: text/html',
      'Content-Transfer-Encoding: 7bit',
      '',
      '<p>plain</p>',
      '--i--',
      '--o',
      'Content-Type: message/rfc822',
      'Content-Transfer-Encoding: 7bit',
      '',
      'Subject: inside',
      'MIME-Version: 1.0',
      'Content-Type: application/x-raw',
      'Content-Transfer-Encoding: base64',
      '',
      Buffer.from('ÿþý').toString('base64'),
      '--o',
      'Content-Type: message/global',
      'Content-Transfer-Encoding: base64',
      '',
      Buffer.from('Subject: ñ\r\n\r\nñ').toString('base64'),
      '--o--',
    ).toString(),
  );
});

test('a message that is no MIME becomes it; one without 8-bit content is not touched; a false label is corrected', async (t) => {
  const folder = await tempFolder(t);
  assert.equal(
    (await downgraded(folder, crlf('From: a@example.test', 'Subject: x', '', 'año'))).toString(),
    crlf(
      'From: a@example.test',
      'Subject: x',
      'MIME-Version: 1.0',
      'Content-Type: text/plain; charset=unknown-8bit',
      'Content-Transfer-Encoding: quoted-printable',
      '',
      'a=C3=B1o',
    ).toString(),
  );
  const plain = memorySource(crlf('From: a@example.test', 'Subject: ñ', '', 'x'));
  assert.equal(await downgrade(plain, folder), plain);
  const head = ['From: a@example.test', 'MIME-Version: 1.0'];
  const label = (encoding: string, ...body: string[]): Buffer =>
    crlf(...head, `Content-Transfer-Encoding: ${encoding}`, '', ...body);
  assert.deepEqual(await downgraded(folder, label('8bit', 'x')), label('7bit', 'x'));
  assert.deepEqual(
    await downgraded(folder, label('quoted-printable', 'a=C3=B1o ñ')),
    label('quoted-printable', 'a=C3=B1o =C3=B1'),
  );
  assert.deepEqual(await downgraded(folder, label('base64', 'YWFhñ')), label('base64', 'YWFh'));
  assert.deepEqual(await downgraded(folder, label('x-uuencode', 'ñ')), label('x-uuencode', 'ñ'), 'unknown: left alone');
  const twice = crlf(...head, 'Content-Transfer-Encoding: 8bit', 'X: y', 'Content-Transfer-Encoding: 8bit', '', 'añ abc');
  assert.deepEqual(
    await downgraded(folder, twice),
    crlf(...head, 'Content-Transfer-Encoding: quoted-printable', 'X: y', '', 'a=C3=B1 abc'),
  );
});

test('encoders: what they make decodes to what it was, in lines that fit, however it is cut', () => {
  const random = seededRandom(2045);
  const pieces = ['\r\n', ' ', '\t', '=', 'ñ', 'a', 'word', '\r', '\n', '\0', 'x'.repeat(90), ' \r\n', '.'];
  for (let round = 0; round < 200; round++) {
    const bytes = Buffer.from(Array.from({ length: random.below(40) }, () => random.pick(pieces)).join(''));
    for (const [name, encoder] of [
      ['base64', new Base64Encoder()],
      ['quoted-printable', new QuotedPrintableEncoder()],
    ] as const) {
      const out: Buffer[] = [];
      for (let at = 0, size = 1 + random.below(60); at < bytes.length; at += size)
        out.push(Buffer.from(encoder.push(bytes.subarray(at, at + size))));
      out.push(encoder.end());
      const encoded = Buffer.concat(out);
      const decoder = transferDecoder(name);
      assert.deepEqual(Buffer.concat([decoder.push(encoded), decoder.end()]), bytes, `${name}, round ${round}`);
      assert.ok(
        encoded
          .toString()
          .split('\r\n')
          .every((line) => line.length <= 76 && /^[!-~ \t]*$/.test(line) && !/[ \t]$/.test(line)),
      );
      if (name === 'base64') assert.equal(encoded.length, base64Size(bytes.length));
    }
  }
});

const TREE = `
import sys, json, base64, email, hashlib
def leaves(m):
    if m.is_multipart(): return [m.get_content_type()] + [x for p in m.get_payload() for x in leaves(p)]
    return [m.get_content_type(), hashlib.sha256(m.get_payload(decode=True) or b'').hexdigest()]
print(json.dumps([leaves(email.message_from_bytes(base64.b64decode(m))) for m in json.load(sys.stdin)]))
`;

function randomPart(random: Random, depth: number): string[] {
  const kind = depth < 4 ? random.below(5) : 0;
  const text = (): string => random.pick(['año', 'plain', 'x = y ', 'Привет', '', 'ñ'.repeat(100), '\tñ']);
  if (kind < 3) {
    const type = random.pick(['text/plain; charset=utf-8', 'text/html', 'application/octet-stream', 'image/x']);
    return [`Content-Type: ${type}`, ...random.pick([[], ['Content-Transfer-Encoding: 8bit']]), '', text(), text(), text()];
  }
  if (kind === 3) return ['Content-Type: message/rfc822', '', 'Subject: inner', ...randomPart(random, depth + 1)];
  const boundary = `b${depth}x${random.below(1_000_000)}`;
  const parts = Array.from({ length: 1 + random.below(3) }, () => [`--${boundary}`, ...randomPart(random, depth + 1)]);
  return [`Content-Type: multipart/mixed; boundary=${boundary}`, '', ...parts.flat(), `--${boundary}--`];
}

test("the parts of a downgraded message decode to the same for Python's parser, whatever the nesting and however it is cut", async (t) => {
  const python = await requireProgram(t, 'python3');
  if (python === undefined) return;
  const folder = await tempFolder(t);
  const random = seededRandom(6152);
  const pairs: [Buffer, Buffer][] = [];
  for (let round = 0; round < 60; round++) {
    const message = crlf('From: a@example.test', 'MIME-Version: 1.0', ...randomPart(random, 0));
    const result = await downgraded(folder, message, 1 + random.below(200));
    assert.doesNotMatch(result.toString('latin1'), /[\x80-\xff]/, `round ${round}`);
    pairs.push([message, result]);
  }
  const { stdout, stderr } = await run(python, ['-c', TREE], {
    input: JSON.stringify(pairs.flat().map((message) => message.toString('base64'))),
  });
  assert.equal(stderr, '');
  const trees = JSON.parse(stdout) as unknown[];
  for (let i = 0; i < trees.length; i += 2) assert.deepEqual(trees[i + 1], trees[i], pairs[i / 2]?.[0].toString());
});
