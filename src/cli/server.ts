/** `node dist/server.js [--config FILE]`. */
export async function main(args: readonly string[]): Promise<void> {
  throw new Error(`serving is being built (arguments: ${args.join(' ') || 'none'})`);
}
