// The pickup as a worker runs it: in one process of a server at a time, by a lock that the kernel frees when that process ends.
import { join } from 'node:path';
import type { Settings } from '../config/settings.ts';
import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/logger.ts';
import { tryLockFile } from '../lib/sqlite.ts';
import { makeMaildrop } from '../maildrop/folder.ts';
import { MaildropPickup, type PickupParts } from '../maildrop/pickup.ts';
import { toolSettings, toolsFileIn, writeToolSettings } from '../maildrop/tool-settings.ts';
import type { Bounce } from '../maildrop/hand-in.ts';
import type { Reporter } from '../queue/types.ts';
import type { Identity } from './privileges.ts';
import { smtpLimits } from './limits.ts';

export interface MaildropDeps {
  readonly settings: () => Settings;
  readonly parts: () => Pick<PickupParts, 'router' | 'accept' | 'bounce'>;
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
  async ({ id, envelope, source }, failures) => {
    const { sender, smtpUtf8, bodyType, ret, envid } = envelope;
    const about = {
      envelope: {
        id,
        sender,
        smtpUtf8,
        bodyType,
        arrived: now(),
        ...(ret === undefined ? {} : { ret }),
        ...(envid === undefined ? {} : { envid }),
      },
      size: source.size,
      recipients: [],
    };
    const reported = failures.map(({ recipient: { address, notify, orcpt }, status, reason }, number) => ({
      recipient: {
        number,
        address,
        ...(notify ? { notify } : {}),
        ...(orcpt === undefined ? {} : { orcpt }),
        destination: 'local',
        state: 'ready' as const,
        attempts: 1,
        nextAttempt: 0,
        delayReported: false,
      },
      outcome: { kind: 'failed' as const, status, reason },
    }));
    await reporter.report(about, reported, source, false);
  };
