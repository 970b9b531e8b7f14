// `sendmail -bs`: SMTP on standard input and output, by the server's own session. What it takes goes into the maildrop, so that it works without a server too,
// and is the caller's: there is no log-in, and recipients are looked at when the message is picked up.
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Authenticator } from '../../auth/types.ts';
import type { ReceivedMessage } from '../../delivery/types.ts';
import { systemClock } from '../../lib/clock.ts';
import { silentLogger } from '../../lib/logger.ts';
import { Drop } from '../../maildrop/drop.ts';
import type { ToolSettings } from '../../maildrop/tool-settings.ts';
import { DEFAULT_SMTP_LIMITS } from '../../smtp/limits.ts';
import type { SmtpSessionOptions } from '../../smtp/options.ts';
import { SmtpSession } from '../../smtp/session.ts';
import type { CommandIo } from '../command.ts';
import { StdioWire } from './stdio-wire.ts';

/** Nobody logs in. */
const NO_LOG_IN: Authenticator = {
  mechanisms: () => [],
  start: () => undefined,
  login: async () => ({ ok: false, reason: 'failed' }),
  watch: () => () => undefined,
};

/** Serves until QUIT or the end of input. */
export async function serveSmtp(settings: ToolSettings, io: CommandIo): Promise<void> {
  const wire = new StdioWire(io);
  const options: SmtpSessionOptions = {
    service: 'smtp',
    hostname: settings.hostname,
    limits: { ...DEFAULT_SMTP_LIMITS, messageSize: settings.messageSizeLimit || Number.MAX_SAFE_INTEGER },
    // Every address is somebody else's business.
    router: { route: async () => ({ kind: 'relay' }), isLocalDomain: async () => false, maySendAs: async () => true },
    queue: { available: true, enqueue: async () => undefined },
    accept: (message) => drop(settings, message),
    authenticator: NO_LOG_IN,
    spoolFolder: join(tmpdir(), `sendmail-${randomBytes(8).toString('hex')}`),
    clock: systemClock,
    isTrusted: () => true,
    tlsLevel: 'none',
    bareNewline: 'no',
  };
  await new SmtpSession(wire, options, silentLogger).run();
}

async function drop(settings: ToolSettings, { envelope, original }: ReceivedMessage): Promise<void> {
  const { sender, recipients, ret, envid } = envelope;
  const notify = recipients[0]?.notify;
  const written = await Drop.create(settings.queueDirectory, {
    sender,
    recipients: recipients.map(({ address }) => address),
    ...(notify === undefined ? {} : { notify }),
    ...(ret === undefined ? {} : { ret }),
    ...(envid === undefined ? {} : { envid }),
  });
  try {
    for await (const chunk of original.chunks()) await written.write(chunk);
    await written.commit();
  } catch (error) {
    await written.abort();
    throw error;
  }
}
