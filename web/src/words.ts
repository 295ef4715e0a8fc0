/** What is wrong, in words, and what helps. */

import type { DeviceState } from "./api";
import { OFFLINE, Trouble } from "./api";

export type Severity = "info" | "warning" | "error";

export interface Notice {
  severity: Severity;
  title: string;
  text: string;
}

const notice = (severity: Severity, title: string, text: string): Notice => ({ severity, title, text });

/** Why camera or microphone can't be had (MediaDevices.getUserMedia). `what`: "camera", "microphone" or both. */
export function captureNotice(error: unknown, what: string): Notice {
  if (!window.isSecureContext) {
    return notice(
      "error",
      `The browser keeps the ${what} from this page.`,
      "It gives them to secure pages only. Open this page with https://, or on the gateway itself with http://localhost.",
    );
  }
  const name = error instanceof DOMException || error instanceof Error ? error.name : "";
  switch (name) {
    case "NotAllowedError":
    case "SecurityError":
      return notice(
        "error",
        `This page may not use the ${what}.`,
        `Allow the ${what} in the browser: the symbol left of the address, then try again.`,
      );
    case "NotFoundError":
    case "OverconstrainedError":
      return notice("warning", `No ${what} was found.`, "Plug one in, or join without it.");
    case "NotReadableError":
    case "AbortError":
      return notice(
        "error",
        `The ${what} can't be opened.`,
        "Another program may be using it. Close that one, then try again.",
      );
    default:
      return notice("error", `The ${what} can't be used.`, error instanceof Error ? error.message : String(error));
  }
}

/** Why a request failed. */
export function troubleNotice(error: unknown): Notice {
  if (!(error instanceof Trouble)) {
    return notice("error", "Something went wrong in this page.", error instanceof Error ? error.message : String(error));
  }
  switch (error.error) {
    case "token_missing":
      return notice("error", "This page needs an access link.", "Open the link that was given to you, or enter its token below.");
    case "token_wrong":
      return notice("error", "Your access link is wrong or no longer valid.", "Ask the person who gave it to you for a new one.");
    case "forbidden":
      return notice("error", "Your access link doesn't allow this.", sentence(error.what, error.advice));
    case "room_full":
      return notice("warning", "The room is full.", `${sentence(error.what)} You can go on watching; try again when somebody has left.`);
    case "no_common_codec":
      return notice("error", "This browser and the room have no video format in common.", noH264Text);
    case OFFLINE:
      return notice("warning", "The gateway doesn't answer.", error.advice);
    case "no_media":
      return notice("warning", error.what, error.advice);
    default:
      return notice("error", sentence(error.what), sentence(error.advice));
  }
}

const noH264Text =
  "Operating rooms send H.264, and this browser has none. Use Chrome, Edge, Safari or Firefox (there the OpenH264 plugin must be on).";

export const noH264 = (): Notice => notice("error", "This browser can't show the operating room.", noH264Text);

export const noWebRtc = (): Notice =>
  notice("error", "This browser can't do video calls.", "It has no WebRTC, or it is switched off. Use a current Chrome, Edge, Safari or Firefox.");

/** How a device stands, for people in its room. */
export function deviceWords(device: DeviceState, now = Date.now()): string {
  const since = device.since_at ? ` since ${clock(device.since_at)} (${ago(now / 1000 - device.since_at)})` : "";
  switch (device.state) {
    case "connected":
      return "connected";
    case "connecting":
      return `being connected${because(device.reason)}`;
    case "registered":
      return `switched on, but not in a call${since}${because(device.reason, "registered, not in a call")}`;
    default:
      return `not connected${since}${because(device.reason)}`;
  }
}

const because = (reason: string, not = ""): string => (reason && reason !== not ? `: ${reason}` : "");

/** `14:05`, or with the day when it wasn't today. */
export function clock(at: number): string {
  const date = new Date(at * 1000);
  const time = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return date.toDateString() === new Date().toDateString()
    ? time
    : `${date.toLocaleDateString([], { day: "numeric", month: "short" })}, ${time}`;
}

/** `12 minutes ago` without false precision. */
export function ago(seconds: number): string {
  const value = Math.max(0, seconds);
  if (value < 90) return "just now";
  if (value < 90 * 60) return `${Math.round(value / 60)} minutes ago`;
  if (value < 36 * 3600) return `${Math.round(value / 3600)} hours ago`;
  return `${Math.round(value / 86400)} days ago`;
}

/** `4 s`, `3 min`, `2 h 5 min`, `3 d 4 h`, as the command line says it. */
export function duration(seconds: number): string {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.floor(minutes / 1440)} d ${Math.floor((minutes % 1440) / 60)} h`;
}

const cap = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
const sentence = (...parts: string[]): string =>
  parts
    .filter(Boolean)
    .map((part) => `${cap(part)}${/[.!?]$/.test(part) ? "" : "."}`)
    .join(" ");
