#!/usr/bin/env node
// The command `sendmail`, by the name that programs look for at /usr/sbin/sendmail.
import { launch } from '../launcher.ts';

launch(import.meta.url, async () => {
  const { runCommand } = await import('../cli/main.ts');
  process.exitCode = await runCommand(['sendmail', ...process.argv.slice(2)]);
});
