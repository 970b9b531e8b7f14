// A queue with very many messages in it, made faster than by sending them: their files, of which the server makes the database anew.
import { createHash } from 'node:crypto';
import { chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { formatHead, HASH_AT, pathOf } from '../../src/queue/store/queue-file.ts';
import { TREE_OWNER } from './mail-host.ts';

export interface FullQueue {
  readonly directory: string;
  readonly count: number;
  /** Where message `n` goes, and why it is held, if it is. */
  readonly route: (n: number) => { readonly address: string; readonly destination: string; readonly hold?: string };
}

/** Messages of some hundred bytes that came one a second, the last of them now. Nothing is synced. */
export function fillQueue({ directory, count, route }: FullQueue): void {
  const made = new Set<string>();
  const own = (path: string): void => void (TREE_OWNER && chownSync(path, TREE_OWNER.uid, TREE_OWNER.gid));
  const now = Date.now();
  for (let n = 0; n < count; n++) {
    const id = `${n.toString(16).toUpperCase().padStart(9, '0')}AB`;
    const body = Buffer.from(`Message-ID: <${id}@example.test>\r\nSubject: ${n}\r\n\r\n${'some text\r\n'.repeat(20)}`);
    const sender = `user${n % 500}@example.test`;
    const arrived = now - (count - n) * 1000;
    const { head } = formatHead({ id, sender, arrived, smtpUtf8: false, bodyType: '7BIT' }, body.length, [route(n)]);
    head.write(createHash('sha256').update(body).digest('hex'), HASH_AT, 'latin1');
    const path = pathOf(directory, id);
    for (const folder of [dirname(dirname(path)), dirname(path)]) {
      if (made.has(folder)) continue;
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      own(folder);
      made.add(folder);
    }
    writeFileSync(path, Buffer.concat([head, body]), { mode: 0o600 });
    own(path);
  }
}
