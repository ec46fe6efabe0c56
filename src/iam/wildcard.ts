/**
 * Whether `text` fits `pattern`, in which `*` stands for any characters and `?` for one. Made
 * without a regular expression: a policy's author must not be able to make matching slow. The
 * time is at most the product of the two lengths.
 */
export function matchesWildcard(pattern: string, text: string): boolean {
  if (pattern === '*') return true;
  if (!pattern.includes('*') && !pattern.includes('?')) return pattern === text;
  let at = 0;
  let star = -1;
  let retry = 0;
  let p = 0;
  while (at < text.length) {
    if (p < pattern.length && pattern[p] === '*') {
      star = p;
      retry = at;
      p += 1;
    } else if (p < pattern.length && (pattern[p] === '?' || pattern[p] === text[at])) {
      p += 1;
      at += 1;
    } else if (star >= 0) {
      // the last star takes one character more
      p = star + 1;
      retry += 1;
      at = retry;
    } else {
      return false;
    }
  }
  while (p < pattern.length && pattern[p] === '*') p += 1;
  return p === pattern.length;
}

/** The parts of an ARN: six, the last of which may hold colons. */
function partsOf(arn: string): string[] {
  const parts = arn.split(':');
  return parts.length <= 6 ? parts : [...parts.slice(0, 5), parts.slice(5).join(':')];
}

/** Whether each of the six parts of an ARN fits its part of the pattern. */
export function matchesArn(pattern: string, arn: string): boolean {
  const wanted = partsOf(pattern);
  const given = partsOf(arn);
  if (wanted.length !== given.length) return false;
  return wanted.every((part, index) => matchesWildcard(part, given[index] ?? ''));
}
