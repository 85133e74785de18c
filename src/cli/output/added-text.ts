/**
 * What `now` has that `before` had not, when both are the last part of the same growing text: the longest end of `before`
 * that `now` begins with is what both share. Linear time (the failure function of Knuth, Morris and Pratt).
 */
export function addedText(before: string, now: string): string {
  if (now.startsWith(before)) return now.slice(before.length);
  const failure = new Int32Array(now.length);
  let matched = 0;
  for (let index = 1; index < now.length; index += 1) {
    while (matched > 0 && now[index] !== now[matched]) matched = failure[matched - 1] ?? 0;
    if (now[index] === now[matched]) matched += 1;
    failure[index] = matched;
  }
  matched = 0;
  for (let index = Math.max(0, before.length - now.length); index < before.length; index += 1) {
    while (matched > 0 && (matched === now.length || before[index] !== now[matched]))
      matched = failure[matched - 1] ?? 0;
    if (before[index] === now[matched]) matched += 1;
  }
  return now.slice(matched);
}
