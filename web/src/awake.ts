/** Keeps the screen from going dark while there is something to watch, where the browser can do that. */

const LOOK_MS = 5_000;

export function keepAwake(isWanted: () => boolean): void {
  let lock: WakeLockSentinel | null = null;
  const look = async (): Promise<void> => {
    if (!("wakeLock" in navigator) || document.visibilityState !== "visible") return;
    if (!isWanted()) {
      await lock?.release();
      lock = null;
    } else if (lock === null || lock.released) {
      // Refused when the battery is low, for instance; asked again at the next look.
      lock = await navigator.wakeLock.request("screen").catch(() => null);
    }
  };
  setInterval(() => void look(), LOOK_MS);
  document.addEventListener("visibilitychange", () => void look());
}
