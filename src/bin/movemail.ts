#!/usr/bin/env node
// The command `movemail`, by the name of GNU mailutils.
import { launch } from '../launcher.ts';

launch(import.meta.url, async () => {
  const { runCommand } = await import('../cli/main.ts');
  process.exitCode = await runCommand(['movemail', ...process.argv.slice(2)]);
});
