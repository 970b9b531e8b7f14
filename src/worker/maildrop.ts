// The pickup as a worker runs it: in one process of a server at a time, by a lock that the kernel frees when that process ends.
import { join } from 'node:path';
import type { Settings } from '../config/settings.ts';
import type { DsnRecipient, MailEnvelope } from '../delivery/types.ts';
import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/logger.ts';
import { tryLockFile } from '../lib/sqlite.ts';
import { makeMaildrop } from '../maildrop/folder.ts';
import { MaildropPickup, type PickupParts } from '../maildrop/pickup.ts';
import { toolSettings, toolsFileIn, writeToolSettings } from '../maildrop/tool-settings.ts';
import type { Bounce } from '../maildrop/hand-in.ts';
import type { ProbeParts } from '../maildrop/probe.ts';
import type { QueuedEnvelope, QueuedRecipient, ReportedRecipient, Reporter } from '../queue/types.ts';
import type { Identity } from './privileges.ts';
import { smtpLimits } from './limits.ts';

export interface MaildropDeps {
  readonly settings: () => Settings;
  readonly parts: () => Pick<PickupParts, 'router' | 'accept' | 'bounce' | 'probe'>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Makes the folders (as root, given to `owner`) and writes down what sendmail needs to know; at each start. @throws MailError config, system errors */
export async function prepareMaildrop(settings: Settings, settingsFile: string, owner?: Identity): Promise<void> {
  await makeMaildrop(settings.queue_directory, owner);
  await noteToolSettings(settings, settingsFile);
}

/** Writes down what sendmail needs to know; also at each reload, when it may have changed. @throws system errors */
export function noteToolSettings(settings: Settings, settingsFile: string): Promise<void> {
  return writeToolSettings(toolsFileIn(settings.queue_directory), toolSettings(settings, settingsFile));
}

/** A pickup that is not started yet. */
export function maildropPickup({ settings, parts, clock, logger }: MaildropDeps): MaildropPickup {
  const { queue_directory: queueDirectory, data_directory: data } = settings();
  return new MaildropPickup({
    queueDirectory,
    spoolFolder: join(data, 'spool'),
    lease: () => tryLockFile(join(data, 'pickup.lock')),
    parts: () => ({ ...parts(), hostname: settings().hostname, limits: smtpLimits(settings()) }),
    clock,
    logger,
  });
}

/** What the pickup cannot hand in is reported as what the queue cannot deliver. `now`: milliseconds since the epoch. */
export const dropBounce =
  (reporter: Reporter, now: () => number): Bounce =>
  async (message, failures) => {
    const { envelope, source } = message;
    const reported = failures.map(({ recipient, status, reason }, number) => ({
      recipient: untried(recipient, number),
      outcome: { kind: 'failed' as const, status, reason },
    }));
    await reporter.report(
      { envelope: queuedEnvelope(message.id, envelope, now()), size: source.size, recipients: [] },
      reported,
      source,
      false,
    );
  };

/** What the pickup has found out about mailboxes here is reported and logged as what the queue's client is told by other hosts. */
export const probeReport =
  (reporter: Reporter, { clock, logger }: Pick<MaildropDeps, 'clock' | 'logger'>): ProbeParts['report'] =>
  async ({ id, envelope, source }, answers) => {
    const reported = answers.map(({ address, orcpt, deliverable, status, reason }, number): ReportedRecipient => {
      const recipient = untried({ address, ...(orcpt === undefined ? {} : { orcpt }) }, number);
      if (!deliverable) return { recipient, outcome: { kind: 'failed', status, reason } };
      return { recipient, outcome: { kind: 'delivered', relay: 'virtual', status, reply: reason, dsnPassedOn: false } };
    });
    await reporter.trace({ envelope: queuedEnvelope(id, envelope, clock.now()) }, reported, source);
    for (const { address, deliverable, status: dsn, reason } of answers)
      logger.info(deliverable ? 'queue.deliverable' : 'queue.undeliverable', {
        id,
        to: address,
        relay: deliverable ? 'virtual' : 'none',
        delay: '0',
        delays: '0/0/0/0',
        dsn,
        status: reason,
        transport: deliverable ? 'virtual' : 'error',
      });
  };

const queuedEnvelope = (
  id: string,
  { recipients: _, verp: _none, ...envelope }: MailEnvelope,
  arrived: number,
): QueuedEnvelope => ({
  ...envelope,
  id,
  arrived,
});

const untried = ({ address, notify, orcpt }: DsnRecipient & { readonly address: string }, number: number): QueuedRecipient => ({
  number,
  address,
  ...(notify ? { notify } : {}),
  ...(orcpt === undefined ? {} : { orcpt }),
  destination: 'local',
  state: 'ready',
  attempts: 1,
  nextAttempt: 0,
  delayReported: false,
});
