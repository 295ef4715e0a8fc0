/** Text work on SDP for trickling candidates and restarting ICE (RFC 8840, RFC 9725 4.3). */

export interface Credentials {
  ufrag: string;
  password: string;
}

const line = (sdp: string, name: string): string | null => {
  const found = new RegExp(`^a=${name}:(.*)$`, "m").exec(sdp.replace(/\r/g, ""));
  return found?.[1]?.trim() ?? null;
};

export function credentialsOf(sdp: string): Credentials | null {
  const ufrag = line(sdp, "ice-ufrag");
  const password = line(sdp, "ice-pwd");
  return ufrag && password ? { ufrag, password } : null;
}

/** The body of a PATCH: our credentials and candidates, below the bundle's first line. Null: the SDP has no ICE. */
export function fragmentOf(sdp: string, candidates: readonly string[], ended: boolean): string | null {
  const credentials = credentialsOf(sdp);
  if (!credentials) return null;
  const rows = sdp.split(/\r?\n/);
  const media = rows.find((row) => row.startsWith("m="));
  const mid = line(sdp, "mid");
  const group = line(sdp, "group");
  return [
    ...(group ? [`a=group:${group}`] : []),
    `a=ice-ufrag:${credentials.ufrag}`,
    `a=ice-pwd:${credentials.password}`,
    ...(media ? [media] : []),
    ...(mid !== null ? [`a=mid:${mid}`] : []),
    ...candidates.map((candidate) => `a=${candidate}`),
    ...(ended ? ["a=end-of-candidates"] : []),
    "",
  ].join("\r\n");
}

/** The last answer with the peer's new credentials and candidates in place of the old. Null: the fragment has none. */
export function answerAfterRestart(answer: string, fragment: string): string | null {
  const credentials = credentialsOf(fragment);
  if (!credentials) return null;
  const fresh = fragment.split(/\r?\n/).filter((row) => /^a=(candidate:|end-of-candidates)/.test(row));
  const rows: string[] = [];
  let isFirst = true;
  for (const row of answer.split(/\r?\n/)) {
    if (/^a=(candidate:|end-of-candidates)/.test(row)) continue;
    if (row.startsWith("a=ice-ufrag:")) rows.push(`a=ice-ufrag:${credentials.ufrag}`);
    else if (row.startsWith("a=ice-pwd:")) {
      rows.push(`a=ice-pwd:${credentials.password}`);
      if (isFirst) rows.push(...fresh);
      isFirst = false;
    } else rows.push(row);
  }
  return rows.join("\r\n");
}
