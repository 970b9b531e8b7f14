import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ResumePoint, wireFrom } from '../../src/imap/wire-range.ts';
import type { MessageContent, Uid } from '../../src/storage/types.ts';

/** A file in chunks of `step` bytes; counts what is read. */
function contentOf(bytes: Buffer, step: number): MessageContent & { bytesRead: number } {
  return {
    size: bytes.length,
    bytesRead: 0,
    async *read(start: number, end: number) {
      for (let at = start; at < end; at += step) {
        const chunk = bytes.subarray(at, Math.min(at + step, end));
        this.bytesRead += chunk.length;
        yield chunk;
      }
    },
    readWire: () => assert.fail('not used'),
    close: async () => undefined,
  };
}
async function piece(
  content: MessageContent,
  range: { start: number; end: number },
  from: number,
  count: number,
  resume: ResumePoint,
): Promise<string> {
  let out = '';
  for await (const chunk of wireFrom(content, 1 as Uid, range, from, resume)) {
    out += chunk.toString('latin1');
    if (out.length >= count) break;
  }
  return out.slice(0, count);
}

for (const [name, disk] of [
  ['LF', 'ab\ncd\n\nef\n'.repeat(50)],
  ['CRLF', 'ab\r\ncd\r\n\r\nef\r\n'.repeat(50)],
  ['mixed, with bare CR', 'a\rb\ncd\r\n\n\r\r\nef\n'.repeat(50)],
] as const)
  test(`pieces of a ${name} file are the octets of the whole, in any order and with any chunks`, async () => {
    const bytes = Buffer.from(disk, 'latin1');
    for (const step of [1, 2, 3, 7, 64, 1_000]) {
      const resume = new ResumePoint();
      const range = { start: 3, end: bytes.length - 2 };
      const whole = disk.slice(3, -2).replaceAll(/(?<!\r)\n/g, '\r\n');
      const content = contentOf(bytes, step);
      for (let at = 0; at < whole.length + 20; at += 37)
        assert.equal(await piece(content, range, at, 37, resume), whole.slice(at, at + 37), `${step} ${at}`);
      for (const at of [200, 5, 0, whole.length - 1])
        assert.equal(await piece(content, range, at, 50, resume), whole.slice(at, at + 50), `${step} ${at}`);
    }
  });

test('a file fetched piece by piece is read about once, not once a piece', async () => {
  const bytes = Buffer.from('0123456789\n'.repeat(10_000));
  const content = contentOf(bytes, 1_000);
  const resume = new ResumePoint();
  for (let at = 0; at < 120_000; at += 2_000) await piece(content, { start: 0, end: bytes.length }, at, 2_000, resume);
  assert.ok(content.bytesRead < 3 * bytes.length, `${content.bytesRead} bytes read of ${bytes.length}`);
});

test('the place of another message or part is not used', async () => {
  const resume = new ResumePoint();
  resume.note({ uid: 1 as Uid, start: 0, disk: 500, wire: 550 });
  assert.deepEqual(resume.find(2 as Uid, 0, 600), { disk: 0, wire: 0 });
  assert.deepEqual(resume.find(1 as Uid, 10, 600), { disk: 10, wire: 0 });
  assert.deepEqual(resume.find(1 as Uid, 0, 500), { disk: 0, wire: 0 });
});
