// The layers of DESIGN: imports go downwards only; smtp, imap and http never import each other; one importer a protocol package.
const layers = [
  ['lib'],
  ['config', 'dns', 'message'],
  ['storage', 'auth'],
  ['policy'],
  ['delivery', 'queue'],
  ['smtp', 'imap', 'http'],
  // sendmail's messages are read as SMTP's are.
  ['maildrop'],
  ['worker'],
  ['cli', 'testing'],
];
const dirs = (list) => `^src/(${list.join('|')})/`;
const upward = layers.slice(0, -1).map((layer, i) => ({
  name: `layer-${i}-${layer[0]}-imports-upwards`,
  severity: 'error',
  from: { path: dirs(layer) },
  to: { path: dirs(layers.slice(i + 1).flat()) },
}));
const alone = (name, from, to) => ({ name, severity: 'error', from: { path: from }, to: { path: to } });
module.exports = {
  forbidden: [
    { name: 'no-circular', severity: 'error', from: {}, to: { circular: true, dependencyTypesNot: ['type-only'] } },
    ...upward,
    alone('smtp-stays-apart', '^src/smtp/', '^src/(imap|http)/'),
    alone('imap-stays-apart', '^src/imap/', '^src/(smtp|http)/'),
    alone('http-stays-apart', '^src/http/', '^src/(smtp|imap)/'),
    alone('storage-and-auth-apart', '^src/storage/', '^src/auth/'),
    alone('auth-and-storage-apart', '^src/auth/', '^src/storage/'),
    alone('delivery-never-imports-queue', '^src/delivery/', '^src/queue/'),
    alone('lib-knows-nothing-of-mail', '^src/lib/', '^src/(?!lib/)'),
    ...[
      ['smtp-server', '^src/smtp/smtp-server-adapter\\.ts$'],
      ['nodemailer', '^src/queue/nodemailer-adapter\\.ts$'],
      ['better-sqlite3', '^src/(lib|storage|queue/store)/sqlite\\.ts$'],
      ['mailauth', '^src/policy/mailauth-adapter\\.ts$'],
      ['clamscan', '^src/policy/clamscan-adapter\\.ts$'],
    ].map(([pkg, only]) => ({
      name: `one-importer-${pkg}`,
      severity: 'error',
      from: { path: '^src/', pathNot: only },
      to: { path: `node_modules/(@types/)?${pkg}/` },
    })),
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: { extensions: ['.ts', '.js', '.json'] },
  },
};
