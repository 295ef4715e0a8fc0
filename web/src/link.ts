/** One WHIP or WHEP session (RFC 9725): a peer connection and its resource at the gateway. */

import { send } from "./api";
import { answerAfterRestart, credentialsOf, fragmentOf } from "./sdp";

const SDP = "application/sdp";
const FRAGMENT = "application/trickle-ice-sdpfrag";
const RESTART_MS = 5_000;
/** Candidates are sent together after this pause: most are found within it. */
const TRICKLE_MS = 250;

export interface LinkHow {
  /** Where to post the offer. */
  url: string;
  token: string | null;
  iceServers: RTCIceServer[];
  /** Adds transceivers before the offer is made. */
  prepare: (pc: RTCPeerConnection) => void;
}

export class Link {
  /** The session's id at the gateway; for a publisher it is the participant's. */
  session: string | null = null;
  private resource: string | null = null;
  private etag: string | null = null;
  private candidates: string[] = [];
  private isGathered = false;
  private timer: ReturnType<typeof setTimeout> | undefined;

  private constructor(
    readonly pc: RTCPeerConnection,
    private readonly token: string | null,
  ) {}

  /** Offers, posts and takes the answer. Throws Trouble (the gateway's words) or DOMException. */
  static async open(how: LinkHow): Promise<Link> {
    const pc = new RTCPeerConnection({ iceServers: how.iceServers, bundlePolicy: "max-bundle" });
    const link = new Link(pc, how.token);
    try {
      how.prepare(pc);
      pc.addEventListener("icecandidate", (event) => link.found(event.candidate));
      await pc.setLocalDescription();
      await link.post(how);
      return link;
    } catch (error) {
      link.close();
      throw error;
    }
  }

  private async post(how: LinkHow): Promise<void> {
    // Never cut short when nobody wants the session any more: only its answer says what is to be deleted.
    const response = await send(how.url, this.token, {
      method: "POST",
      headers: { "Content-Type": SDP },
      body: this.pc.localDescription?.sdp ?? "",
    });
    const where = response.headers.get("Location");
    this.resource = where ? new URL(where, response.url).pathname : null;
    this.etag = response.headers.get("ETag");
    this.session = response.headers.get("Orbridge-Session");
    await this.pc.setRemoteDescription({ type: "answer", sdp: await response.text() });
    this.trickleSoon();
  }

  private found(candidate: RTCIceCandidate | null): void {
    if (candidate?.candidate) this.candidates.push(candidate.candidate);
    else this.isGathered = true;
    this.trickleSoon();
  }

  private trickleSoon(): void {
    if (!this.resource || this.timer !== undefined) return;
    this.timer = setTimeout(() => void this.trickle(), TRICKLE_MS);
  }

  /** Tells the gateway of our candidates. It usually finds them out by itself, so a failure is no reason to stop. */
  private async trickle(): Promise<void> {
    this.timer = undefined;
    const { sdp } = this.pc.localDescription ?? { sdp: "" };
    if (!this.resource || !this.etag || (!this.candidates.length && !this.isGathered)) return;
    const body = fragmentOf(sdp, this.candidates.splice(0), this.isGathered);
    if (!body || this.pc.connectionState === "connected") return;
    try {
      await send(this.resource, this.token, {
        method: "PATCH",
        headers: { "Content-Type": FRAGMENT, "If-Match": this.etag },
        body,
      });
    } catch (error) {
      console.info("candidates were not taken", error);
    }
  }

  /** A new way through the network for the same session. False: it didn't work, open a new one. */
  async restart(): Promise<boolean> {
    const answer = this.pc.remoteDescription?.sdp;
    if (!this.resource || !answer) return false;
    try {
      this.pc.restartIce();
      await this.pc.setLocalDescription();
      const body = fragmentOf(this.pc.localDescription?.sdp ?? "", [], false);
      if (!body) return false;
      const response = await send(this.resource, this.token, {
        method: "PATCH",
        headers: { "Content-Type": FRAGMENT, "If-Match": "*" },
        body,
        signal: AbortSignal.timeout(RESTART_MS),
      });
      const fragment = await response.text();
      const sdp = credentialsOf(fragment) ? answerAfterRestart(answer, fragment) : null;
      if (!sdp) return false;
      this.etag = response.headers.get("ETag") ?? this.etag;
      await this.pc.setRemoteDescription({ type: "answer", sdp });
      return await this.connects(RESTART_MS);
    } catch (error) {
      console.info("ICE restart failed", error);
      return false;
    }
  }

  /** Waits until the connection stands; false when it doesn't in time or fails. */
  async connects(ms: number): Promise<boolean> {
    const { pc } = this;
    return await new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => done(false), ms);
      const look = (): void => {
        if (pc.connectionState === "connected") done(true);
        else if (pc.connectionState === "failed" || pc.connectionState === "closed") done(false);
      };
      const done = (is: boolean): void => {
        clearTimeout(timer);
        pc.removeEventListener("connectionstatechange", look);
        resolve(is);
      };
      pc.addEventListener("connectionstatechange", look);
      look();
    });
  }

  /** Ends it on both sides. */
  close(): void {
    clearTimeout(this.timer);
    this.pc.close();
    const resource = this.resource;
    this.resource = null;
    if (!resource) return;
    // Also reaches the gateway when the page is being closed.
    send(resource, this.token, { method: "DELETE", keepalive: true }).catch(() => undefined);
  }
}
