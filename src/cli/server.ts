/** `node dist/server.js [--config FILE]`: `buzon serve` under another name. */
export async function main(args: readonly string[]): Promise<void> {
  const { runCommand } = await import('./main.ts');
  process.exitCode = await runCommand(['serve', ...args]);
}
