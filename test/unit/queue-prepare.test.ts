import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ReceivedMessage } from '../../src/delivery/types.ts';
import { memorySource, type MessageSource } from '../../src/message/source.ts';
import { DkimSigner } from '../../src/policy/dkim-signer.ts';
import { prepareOutgoing, prepareSevenBit, type PrepareOptions } from '../../src/queue/prepare.ts';
import { dkimKey, dkimpyVerdicts, keyRing, requireDkimpy, verdicts } from '../support/dkim.ts';
import { captureLog } from '../support/log-capture.ts';
import { readAll } from '../support/message-source.ts';
import { tempFolder } from '../support/temp-folder.ts';

const key = dkimKey('example.test', 'default');

function received(source: MessageSource, extra: Partial<ReceivedMessage> = {}): ReceivedMessage {
  const envelope = { sender: 'ana@example.test', recipients: [], smtpUtf8: false, bodyType: '8BITMIME' } as const;
  return { id: 'ID', envelope, source, original: source, deliveredTo: [], ...extra };
}
const options = (spoolFolder: string): PrepareOptions => ({
  signer: new DkimSigner({ keys: keyRing(key), now: () => Date.UTC(2026, 10, 24), logger: captureLog().logger }),
  spoolFolder,
});
/** Says whether it was disposed. */
function watched(...parts: string[]): MessageSource & { disposed: boolean } {
  const source = memorySource(...parts.map((part) => Buffer.from(part)));
  const watching = {
    ...source,
    disposed: false,
    dispose: async () => {
      watching.disposed = true;
    },
  };
  return watching;
}

test('row 17: bare CR or LF in a message going out: CRLF only, lines at most 998, DKIM verifies', async (t) => {
  const python = await requireDkimpy(t);
  if (python === undefined) return;
  const folder = await tempFolder(t);
  const header = 'Subject: x\nFrom: a@example.test\r';
  const messages: Buffer[] = [];
  for (const body of [
    'bare\nLF\n',
    'bare\rCR\r',
    'n\0ul\r\n',
    `${'y'.repeat(5000)}\n`,
    `${'ñ'.repeat(1500)}\r\n\r`,
    'no end',
    '.\n..\r.\r\n',
  ]) {
    const source = watched(`${header}X-Long: ${'z '.repeat(800)}\n\n`, body.slice(0, 3), body.slice(3));
    const ready = await prepareOutgoing(received(source, { account: 'a@example.test' }), options(folder));
    const bytes = await readAll(ready);
    assert.equal(bytes.length, ready.size);
    const lines = bytes.toString('latin1').split('\r\n');
    assert.equal(lines.at(-1), '');
    for (const line of lines) assert.ok(line.length <= 998 && !/[\r\n\0]/.test(line), JSON.stringify(line));
    assert.deepEqual(await verdicts(bytes, [key]), { default: 'pass' }, JSON.stringify(body));
    messages.push(bytes);
    await ready.dispose();
    assert.equal(source.disposed, false);
  }
  const expected = messages.map(() => [true]);
  assert.deepEqual(await dkimpyVerdicts(python, messages, [key]), expected);
});

test('what our users send is signed, what comes from elsewhere is not', async (t) => {
  const made = options(await tempFolder(t));
  const source = watched('From: a@example.test\r\n\r\nx\r\n');
  const signed = async (extra: Partial<ReceivedMessage>): Promise<boolean> => {
    const ready = await prepareOutgoing(received(source, extra), made);
    const text = (await readAll(ready)).toString();
    await ready.dispose();
    assert.equal(source.disposed, false);
    return text.startsWith('DKIM-Signature: ');
  };
  assert.equal(await signed({ account: 'a@example.test' }), true);
  assert.equal(await signed({ trusted: true }), true);
  assert.equal(await signed({}), false);
});

test('in 7 bits the signature is one of what is sent', async (t) => {
  const made = options(await tempFolder(t));
  const source = watched('From: a@example.test\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\n\r\naño\r\n');
  const ready = await prepareOutgoing(received(source, { account: 'a@example.test' }), made);
  const seven = await prepareSevenBit(ready, made);
  assert.ok(seven);
  const bytes = await readAll(seven);
  assert.equal(bytes.length, seven.size);
  assert.ok(bytes.includes('\r\n\r\na=C3=B1o\r\n'));
  assert.equal(bytes.toString().match(/^DKIM-Signature/gm)?.length, 1);
  assert.deepEqual(await verdicts(bytes, [key]), { default: 'pass' });
  await seven.dispose();
});

test('in 7 bits: what needs no change and what cannot be changed; the source stays the caller’s', async (t) => {
  const made = options(await tempFolder(t));
  const plain = watched('From: a@example.test\r\nSubject: \u00f1\r\n\r\nx\r\n');
  const same = await prepareSevenBit(plain, made);
  assert.deepEqual(await readAll(same ?? plain), await readAll(plain));
  await same?.dispose();
  assert.equal(plain.disposed, false);
  const odd = watched('From: a@example.test\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: x-odd\r\n\r\n\u00f1\r\n');
  assert.equal(await prepareSevenBit(odd, made), undefined);
  assert.equal(odd.disposed, false);
});

test('in 7 bits: raw octets in fields stay, of the message and of its parts, as Postfix leaves them; the signature is right', async (t) => {
  let now = Date.UTC(2026, 10, 24);
  // A new signature differs: it has the time in it.
  const signer = new DkimSigner({ keys: keyRing(key), now: () => (now += 60_000), logger: captureLog().logger });
  const made = { signer, spoolFolder: await tempFolder(t) };
  const fields = 'From: "Ana Ñ" <a@example.test>\r\nSubject: año\r\nX-Raw: ü\r\nMIME-Version: 1.0\r\n';
  const part = 'Content-Type: application/pdf; name="año.pdf"\r\nContent-Disposition: attachment; filename="año.pdf"\r\n';
  const mixed = (encoding: string, text: string): string =>
    `${fields}Content-Type: multipart/mixed; boundary=b\r\n\r\nvorbei ü\r\n--b\r\n` +
    `Content-Type: text/plain; charset=utf-8\r\n${encoding}\r\n${text}\r\n` +
    `--b\r\n${part}Content-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b--\r\n`;
  const seven = async (text: string): Promise<{ signed: Buffer; sent: Buffer }> => {
    const ready = await prepareOutgoing(received(watched(text), { account: 'a@example.test' }), made);
    const converted = await prepareSevenBit(ready, made);
    assert.ok(converted, text);
    const result = { signed: await readAll(ready), sent: await readAll(converted) };
    await converted.dispose();
    await ready.dispose();
    assert.deepEqual(await verdicts(result.sent, [key]), { default: 'pass' }, text);
    return result;
  };
  for (const same of [`${fields}\r\nx\r\n`, mixed('', 'plain')]) {
    const { signed, sent } = await seven(same);
    assert.deepEqual(sent, signed, 'nothing is content: the first signature stays too');
  }
  const { sent } = await seven(mixed('Content-Transfer-Encoding: 8bit\r\n', 'ein größerer Text'));
  const text = sent.toString();
  assert.ok(text.includes(fields) && text.includes(part) && text.includes('\r\nvorbei ü\r\n'));
  assert.ok(text.includes('Content-Transfer-Encoding: quoted-printable\r\n\r\nein gr=C3=B6=C3=9Ferer Text\r\n'));
});

test('a signer that fails leaves nothing open', async (t) => {
  const spoolFolder = await tempFolder(t);
  const failing = async (): Promise<never> => Promise.reject(new Error('no'));
  const source = watched('From: a@example.test\n\nx\n');
  await assert.rejects(
    prepareOutgoing(received(source, { trusted: true }), { signer: { sign: failing, resign: failing }, spoolFolder }),
    /no/,
  );
  assert.equal(source.disposed, false);
});
