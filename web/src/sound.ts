/** Everybody's sound: one audio element a participant, and the tap that browsers want before they play any. */

export class Sound {
  /** The browser waits for a tap. */
  isBlocked = false;
  isMuted = false;
  private readonly elements = new Map<string, HTMLAudioElement>();

  constructor(
    private readonly host: HTMLElement,
    private readonly changed: () => void,
  ) {}

  /** These and no others are to be heard: key -> media. */
  set(wanted: ReadonlyMap<string, MediaStream>): void {
    for (const [key, element] of this.elements) {
      if (wanted.has(key)) continue;
      element.srcObject = null;
      element.remove();
      this.elements.delete(key);
    }
    for (const [key, media] of wanted) {
      const track = media.getAudioTracks()[0];
      if (!track) continue;
      const element = this.elements.get(key) ?? this.make(key);
      // After a new session its track has to be given anew: not every browser takes over one that was exchanged.
      if (element.dataset["track"] !== track.id) {
        element.dataset["track"] = track.id;
        element.srcObject = new MediaStream([track]);
      }
      if (element.paused && !this.isBlocked) void this.play(element);
    }
  }

  mute(is: boolean): void {
    this.isMuted = is;
    for (const element of this.elements.values()) element.muted = is;
    this.changed();
  }

  /** To be called from a tap. */
  async unblock(): Promise<void> {
    this.isBlocked = false;
    await Promise.all([...this.elements.values()].map((element) => this.play(element)));
    this.changed();
  }

  private make(key: string): HTMLAudioElement {
    const element = document.createElement("audio");
    element.muted = this.isMuted;
    element.dataset["key"] = key;
    this.host.append(element);
    this.elements.set(key, element);
    return element;
  }

  private async play(element: HTMLAudioElement): Promise<void> {
    try {
      await element.play();
    } catch (error) {
      if (error instanceof DOMException && error.name === "NotAllowedError" && !this.isBlocked) {
        this.isBlocked = true;
        this.changed();
      }
    }
  }
}
