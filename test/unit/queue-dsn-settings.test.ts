import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseSettings, type Settings } from '../../src/config/settings.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { loadBounceTemplates, makeReporter } from '../../src/queue/dsn/from-settings.ts';
import { captureLog } from '../support/log-capture.ts';
import { readAll } from '../support/message-source.ts';
import { about, FAILED, MESSAGE, queued } from '../support/reports.ts';
import { table } from '../support/routing.ts';
import { tempFolder } from '../support/temp-folder.ts';

const settings = (extra: string): Settings => parseSettings(`hostname: mail.example.test\n${extra}`, '/etc/buzon/buzon.yaml');

/** The header's subject and the text of one report to this sender. */
async function reportTo(sender: string, extra: string, languages: Record<string, string> = {}): Promise<string> {
  const all = settings(extra);
  const templates = await loadBounceTemplates(all);
  const sent: string[] = [];
  const reporter = makeReporter(all, {
    languages: [table(languages)],
    ...(templates ? { templates } : {}),
    lifetime: () => 5 * 86_400_000,
    delayWarning: 4 * 3_600_000,
    send: async ({ recipient, source }) => void sent.push(`${recipient}: ${(await readAll(source)).toString()}`),
    clock: systemClock,
    logger: captureLog().logger,
  });
  await reporter.report(queued({ sender }), [about(FAILED)], MESSAGE, false);
  return sent.join('\n');
}

test('the settings choose the language by the domain of the reader, and who hears of a failing report', async () => {
  assert.match(await reportTo('a@b.test', ''), /^Subject: Undelivered Mail/m);
  assert.match(await reportTo('a@b.test', 'bounce_default_language: es'), /^Subject: Correo no entregado/m);
  assert.match(await reportTo('a@B.test', '', { 'b.test': 'ES' }), /^Subject: Correo no entregado/m);
  assert.match(await reportTo('a@b.test', '', { 'b.test': 'klingon' }), /^Subject: Undelivered Mail/m);
  const postmaster = 'postmaster: info@example.test\n';
  assert.equal(await reportTo('', postmaster), '');
  assert.match(await reportTo('', `${postmaster}notify_classes: resource, software, 2bounce`), /^info@example\.test: /);
  assert.equal(await reportTo('', 'notify_classes: 2bounce'), '');
});

test('bounce_size_limit and bounce_template_file', async (t) => {
  assert.match(await reportTo('a@b.test', ''), /Body of it/);
  assert.doesNotMatch(await reportTo('a@b.test', 'bounce_size_limit: 10'), /Body of it/);
  const file = join(await tempFolder(t), 'bounce.cf');
  await writeFile(file, 'failure_template = <<EOF\nSubject: Own\n\nFrom $myhostname of $mydomain\nEOF\n');
  const own = await reportTo('a@b.test', `bounce_template_file: ${file}`);
  assert.match(own, /^Subject: Own\r\n[^]*From mail\.example\.test of example\.test\r\n/m);
  await assert.rejects(loadBounceTemplates(settings(`bounce_template_file: ${file}.absent`)), { code: 'BOUNCE_TEMPLATE' });
});

test('a boundary and an id of its own for each report', async () => {
  const found = new Set<string>();
  for (let i = 0; i < 3; i++) found.add(/boundary="([^"]+)"/.exec(await reportTo('a@b.test', ''))?.[1] ?? '');
  assert.equal(found.size, 3);
});

test('what the settings of reports, SRS and VERP cannot be', () => {
  for (const [text, message] of [
    ['bounce_default_language: english', /bounce_default_language.*en, es/],
    ['bounce_size_limit: -1', /bounce_size_limit/],
    ['notify_classes: everything', /notify_classes.*2bounce/],
    ['srs_domain: nodots', /srs_domain/],
    ['default_verp_delimiters: "+"', /default_verp_delimiters.*\+=/],
  ] as const)
    assert.throws(() => settings(text), message);
});
