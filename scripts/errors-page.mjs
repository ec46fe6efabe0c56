// Writes docs/errors.md from the table of errors: node scripts/errors-page.mjs, after a build.
import { writeFileSync } from 'node:fs';
import { ERRORS } from '../dist/core/errors.js';

/** IAM's and STS's own, whose names end otherwise. */
const QUERY = [
  'DeleteConflict',
  'EntityAlreadyExists',
  'InvalidInput',
  'NoSuchEntity',
  'PackedPolicyTooLarge',
];
const isOfAws = (code) =>
  code.endsWith('Exception') || code === 'InternalFailure' || QUERY.includes(code);

const FAMILIES = [
  {
    title: 'Answered by the service',
    text: `AWS's own names, spelled as in the API references of AWS KMS and AWS CloudHSM (IAM and
STS write some of them shorter: AccessDenied, ValidationError). They reach
clients as \`{"id", "error": {"code", "message"}}\`, the command line's standard error (exit code
254) and the client library's \`ServiceError\`. The client tries \`ThrottlingException\`,
\`KeyUnavailableException\`, \`DependencyTimeoutException\` and \`KMSInternalException\` again by
itself until the request's deadline.`,
    owns: isOfAws,
  },
  {
    title: 'Of this installation',
    text: `From the daemon's own tools, the client library and the command line.
\`KeyspanConnection\`, \`KeyspanNotRunning\` and \`KeyspanDeadlineExceeded\` exit with 255,
\`KeyspanUsage\` with 252, others with 1 (254 when it was the daemon that refused).`,
    owns: (code) => code.startsWith('Keyspan'),
  },
  {
    title: 'Of the store',
    text: 'Seen in logs, and by `keyspan up` when a home cannot be used.',
    owns: (code) => code.startsWith('Store'),
  },
  {
    title: 'Of a vault',
    text: `Between KMS and what holds its keys. Each becomes an error of AWS before a user of
KMS sees it. HSM users (\`client.session\`, \`cloudhsm-cli\`) get \`VaultBusy\`,
\`VaultNotDurable\`, \`VaultTimeout\` and \`VaultUnavailable\` as they are; the client library
tries all of them but \`VaultNotDurable\` again by itself.`,
    owns: (code) => code.startsWith('Vault'),
  },
  {
    title: 'Of an HSM',
    text: `What an HSM's authority answers to a frame. HSM users get these codes, and
\`KeyspanRefused\` where the HSMs did not answer alike; for users of KMS they become errors of
AWS.`,
    owns: (code) => code.startsWith('Hsm'),
  },
];

const families = FAMILIES.map(({ title, text, owns }) => {
  const rows = Object.entries(ERRORS).filter(([code]) => owns(code));
  const lines = rows.map(([code, sentence]) => `| \`${code}\` | ${sentence} |`);
  return `## ${title}\n\n${text}\n\n| code | means |\n|---|---|\n${lines.join('\n')}\n`;
});

const orphans = Object.keys(ERRORS).filter((code) => !FAMILIES.some(({ owns }) => owns(code)));
if (orphans.length > 0) throw new Error(`no family has ${orphans.join(', ')}`);

const head = `# Errors

Every error has a stable code: compare codes, not messages. This page is made from the table in the
source (\`node scripts/errors-page.mjs\`).
`;
writeFileSync(new URL('../docs/errors.md', import.meta.url), [head, ...families].join('\n'));
