import { createInterface } from 'node:readline/promises';

/**
 * Asks a person. Where nobody can answer (no terminal on both sides) the answer is yes: a script
 * that says `down --delete` means it.
 */
export async function confirm(question: string): Promise<boolean> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return true;
  const dialogue = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await dialogue.question(`${question} [y/N] `);
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    dialogue.close();
  }
}
