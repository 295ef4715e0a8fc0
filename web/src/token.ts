/** The access token: comes in the address once, lives in this tab's storage, and never stays in the address bar. */

const KEY = "orbridge-token";

export interface Places {
  location: { href: string };
  history: { replaceState(data: unknown, unused: string, url: string): void };
  storage: Pick<Storage, "getItem" | "setItem" | "removeItem">;
}

const here = (): Places => ({ location: window.location, history: window.history, storage: window.sessionStorage });

/** Moves `?token=` from the address into the storage, and returns what is stored. */
export function takeToken(places: Places = here()): string | null {
  const url = new URL(places.location.href);
  const given = url.searchParams.get("token");
  if (given !== null) {
    url.searchParams.delete("token");
    places.history.replaceState(null, "", url.pathname + url.search + url.hash);
    if (given) keepToken(given, places);
  }
  return places.storage.getItem(KEY);
}

export function keepToken(token: string, places: Places = here()): void {
  places.storage.setItem(KEY, token.trim());
}

export function dropToken(places: Places = here()): void {
  places.storage.removeItem(KEY);
}
