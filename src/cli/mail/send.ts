// `mail ADDRESS …`: a message from standard input, handed to sendmail's part of this program.
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { findToolSettings } from '../../maildrop/tool-settings.ts';
import type { CommandIo } from '../command.ts';
import { localUser } from '../sendmail/local-user.ts';
import { submit } from '../sendmail/submit.ts';
import { composeMessage, type Attachment } from './compose.ts';

export interface Letter {
  readonly recipients: readonly string[];
  readonly subject?: string;
  /** `Name: value`. */
  readonly fields: readonly string[];
  readonly files: readonly { readonly path: string; readonly type: string; readonly name?: string }[];
  readonly sender?: string;
  /** Standard input begins with a header, which names (more) recipients. */
  readonly headerInBody: boolean;
  readonly config?: string;
}

/** @throws Fatal, MailError: then nothing was sent */
export async function sendLetter(letter: Letter, body: Buffer, io: CommandIo): Promise<void> {
  const { recipients, subject, sender, headerInBody, config } = letter;
  const [fields, text] = headerInBody ? splitHeader(body) : [[], body];
  const toLine = recipients.length > 0 ? [`To: ${recipients.join(', ')}`] : [];
  const subjectLine = subject === undefined ? [] : [`Subject: ${subject}`];
  const attachments: Attachment[] = [];
  for (const { path, type, name } of letter.files)
    attachments.push({ name: name ?? path, type, content: await readFile(resolve(io.cwd, path)) });
  const message = composeMessage({ fields: [...toLine, ...subjectLine, ...letter.fields, ...fields], body: text, attachments });
  await submit(
    {
      options: { mode: 'send', fromHeader: true, dotEnds: false, recipients: [], ...(sender === undefined ? {} : { sender }) },
      settings: await findToolSettings({ env: io.env, cwd: io.cwd, ...(config === undefined ? {} : { given: config }) }),
      user: await localUser(process.getuid?.() ?? 0),
      now: Date.now(),
    },
    { ...io, stdin: oneChunk(message) },
  );
}

async function* oneChunk(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

/** Folded fields become one line. */
function splitHeader(body: Buffer): [string[], Buffer] {
  const text = body.toString('utf8');
  const end = /\r?\n\r?\n|^\r?\n/.exec(text);
  const header = end ? text.slice(0, end.index) : text;
  const rest = end ? text.slice(end.index + end[0].length) : '';
  return [
    header
      .replace(/\r?\n[ \t]+/g, ' ')
      .split(/\r?\n/)
      .filter((line) => line !== ''),
    Buffer.from(rest),
  ];
}

/** All of standard input. */
export async function readAll(stdin: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stdin) chunks.push(chunk);
  return Buffer.concat(chunks);
}
