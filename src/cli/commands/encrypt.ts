import { encryptStream } from '../../client/client.js';
import { KeyspanError } from '../../core/errors.js';
import { findHome } from '../../core/home.js';
import { connectToCluster } from '../cluster-client.js';
import { openInput, writeOutput } from '../file-stream.js';
import { EXIT, printJson } from '../output.js';
import { withProgress } from '../progress.js';
import type { SharedOptions } from '../global-options.js';

export interface EncryptOptions extends SharedOptions {
  readonly file: string;
  readonly output?: string;
  readonly key: string;
  readonly context?: Readonly<Record<string, string>>;
}

export async function encrypt(options: EncryptOptions): Promise<number> {
  if (options.output === undefined && process.stdout.isTTY) {
    throw new KeyspanError('KeyspanUsage', 'a terminal is no place for ciphertext; use -o');
  }
  const input = await openInput(options.file);
  const client = await connectToCluster(findHome(options.home));
  try {
    const source = withProgress(input.stream, input.totalBytes);
    const settings = { keyId: options.key, context: options.context ?? {} };
    const sealed = encryptStream(client.kms, source, settings);
    const bytes = await writeOutput(sealed, options.output);
    if (options.json && options.output !== undefined) printJson({ output: options.output, bytes });
    return EXIT.ok;
  } finally {
    await client.close();
  }
}
