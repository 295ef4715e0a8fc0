/** Which tiles there are and which of them is big. Values in, decision out. */

import type { ParticipantState, Role, RoomState } from "./api";

export interface Tile {
  /** Participant id and role: changes when somebody comes back. */
  key: string;
  /** Name and role: the same when somebody comes back. */
  pick: string;
  participant: ParticipantState;
  role: Role;
  /** What to play; null: this one sends nothing. */
  stream: string | null;
}

/** Those whom people meet. */
export const peopleOf = (room: RoomState): ParticipantState[] => room.participants.filter((one) => one.kind !== "output");

/** Where the room is shown besides, in words; empty when nowhere. */
export function alsoShownAt(room: RoomState): string {
  const names = room.participants.filter((one) => one.kind === "output").map((one) => one.name);
  return names.length ? `Also shown at: ${names.join(", ")}` : "";
}

/** Everybody but ourselves; who shares content has a second tile. Devices first, then who came first. */
export function tilesOf(room: RoomState, me: string | null): Tile[] {
  const others = peopleOf(room).filter((participant) => participant.id !== me);
  const sorted = [...others].sort((a, b) => Number(b.kind === "device") - Number(a.kind === "device"));
  return sorted.flatMap((participant) => {
    const roles = (["main", "content"] as const).filter((role) => participant.streams[role]);
    const shown: Role[] = roles.length ? [...roles] : ["main"];
    return shown.map((role) => ({
      key: `${participant.id}/${role}`,
      pick: `${participant.name}/${role}`,
      participant,
      role,
      stream: participant.streams[role] ?? null,
    }));
  });
}

export interface BigHow {
  /** What the person chose; null: follow the speaker. */
  picked: string | null;
  speaker: string | null;
  /** The tile that is big now. */
  current: string | null;
}

/** A device that is being connected, or whose stream is fetched in vain, has its place in the room already. */
const isThere = (tile: Tile): boolean => tile.stream !== null && tile.participant.state !== "connecting";

/** The chosen one; else what is shared; else who speaks; else the one before; else the theatre. */
export function bigOf(tiles: readonly Tile[], how: BigHow): Tile | null {
  const first = (is: (tile: Tile) => boolean): Tile | undefined => tiles.find(is);
  return (
    (how.picked !== null ? first((tile) => tile.pick === how.picked) : undefined) ??
    first((tile) => tile.role === "content") ??
    first((tile) => tile.participant.id === how.speaker && tile.stream !== null) ??
    first((tile) => tile.key === how.current && isThere(tile)) ??
    first((tile) => tile.participant.kind === "device" && isThere(tile) && tile.participant.video) ??
    first((tile) => tile.key === how.current && tile.stream !== null) ??
    first((tile) => tile.participant.kind === "device") ??
    first((tile) => tile.stream !== null) ??
    tiles[0] ??
    null
  );
}
