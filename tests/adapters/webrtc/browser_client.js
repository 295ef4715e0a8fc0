// A WHIP publisher and WHEP player as RFC 9725 describes them: posts at once, trickles candidates, restarts ICE by PATCH.
class Client {
  constructor(token) {
    this.headers = { Authorization: `Bearer ${token}` };
    this.pc = new RTCPeerConnection();
    this.patches = [];
    this.waiting = [];
    this.pc.onicecandidate = (e) => {
      this.waiting.push(e.candidate ? `a=${e.candidate.candidate}` : 'a=end-of-candidates');
      if (this.location) this.trickle();
    };
    this.pc.ontrack = (e) => {
      const video = document.createElement('video');
      video.muted = true;
      video.autoplay = true;
      video.srcObject = new MediaStream([e.track]);
      document.body.append(video);
      this[e.track.kind] = video;
      video.requestVideoFrameCallback?.(() => { this.firstFrame ??= performance.now() - this.started; });
    };
  }

  async publish(path) {
    const constraints = { video: { width: 640, height: 360, frameRate: 30 }, audio: true };
    const media = await navigator.mediaDevices.getUserMedia(constraints);
    for (const track of media.getTracks()) this.pc.addTransceiver(track, { direction: 'sendonly', streams: [media] });
    await this.start(path);
  }

  async play(path) {
    this.pc.addTransceiver('video', { direction: 'recvonly' });
    this.pc.addTransceiver('audio', { direction: 'recvonly' });
    await this.start(path);
  }

  async start(path) {
    this.started = performance.now();
    await this.pc.setLocalDescription();
    const headers = { ...this.headers, 'Content-Type': 'application/sdp' };
    let body = this.pc.localDescription.sdp;
    if (this.detour) body = body.replace(/a=candidate:.*\r\n/g, '');
    const response = await fetch(path, { method: 'POST', headers, body });
    this.answer = await response.text();
    // A test may put something between us and the gateway, which then shall know no other way to us.
    if (this.detour) this.answer = this.answer.replace(/(a=candidate:.* 127\.0\.0\.1) \d+ typ/g, `$1 ${this.detour} typ`);
    if (response.status !== 201) throw new Error(`${response.status} ${this.answer}`);
    this.location = response.headers.get('Location');
    this.etag = response.headers.get('ETag');
    await this.pc.setRemoteDescription({ type: 'answer', sdp: this.answer });
    await this.trickle();
    await this.connected();
  }

  credentials() {
    const sdp = this.pc.localDescription.sdp;
    return [...sdp.matchAll(/a=ice-(?:ufrag|pwd):\S+/g)].slice(0, 2).map((m) => m[0]).join('\r\n');
  }

  async patch(location, match, rows) {
    const headers = { ...this.headers, 'Content-Type': 'application/trickle-ice-sdpfrag', 'If-Match': match };
    const body = `${this.credentials()}\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n${rows.join('\r\n')}\r\n`;
    const response = await fetch(location, { method: 'PATCH', headers, body });
    this.patches.push(response.status);
    return response;
  }

  async trickle() {
    if (this.detour) this.waiting = [];
    if (this.waiting.length) await this.patch(this.location, this.etag, this.waiting.splice(0));
  }

  async restart() {
    // Candidates of the new session wait until its ETag is known.
    const location = this.location;
    this.location = null;
    this.pc.restartIce();
    await this.pc.setLocalDescription(await this.pc.createOffer());
    const response = await this.patch(location, '*', this.waiting.splice(0));
    if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`);
    this.etag = response.headers.get('ETag');
    this.location = location;
    const fragment = await response.text();
    const find = (name) => fragment.match(new RegExp(`a=${name}:\\S+`))[0];
    this.answer = this.answer
      .replace(/a=ice-ufrag:\S+/g, find('ice-ufrag'))
      .replace(/a=ice-pwd:\S+/g, find('ice-pwd'));
    await this.pc.setRemoteDescription({ type: 'answer', sdp: this.answer });
    await this.trickle();
    await this.connected();
  }

  async connected() {
    for (let i = 0; i < 500 && this.pc.connectionState !== 'connected'; i++) await new Promise((r) => setTimeout(r, 10));
    if (this.pc.connectionState !== 'connected') throw new Error(`connection is ${this.pc.connectionState}`);
  }

  async remove() {
    const response = await fetch(this.location, { method: 'DELETE', headers: this.headers });
    return response.status;
  }

  async stats() {
    const all = [...(await this.pc.getStats()).values()];
    const of = (type) => all.filter((s) => s.type === type);
    const codecs = Object.fromEntries(of('codec').map((c) => [c.id, `${c.mimeType} ${c.sdpFmtpLine ?? ''}`]));
    const named = (s) => ({ ...s, codec: codecs[s.codecId] });
    return {
      inbound: Object.fromEntries(of('inbound-rtp').map((s) => [s.kind, named(s)])),
      outbound: Object.fromEntries(of('outbound-rtp').map((s) => [s.kind, named(s)])),
      transport: of('transport')[0],
      state: this.pc.connectionState,
      firstFrame: this.firstFrame,
      patches: this.patches,
    };
  }
}
window.Client = Client;
