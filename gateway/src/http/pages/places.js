// Where the pages of an account lead.

/** Returns a path of this deployment; null for any other place. */
export function local(path) {
  if (!path?.startsWith("/")) return null;
  try {
    const { origin, pathname, search, hash } = new URL(path, location.origin);
    // The result counts: without its dots, `/.//host` is another host.
    const found = pathname + search + hash;
    return origin === location.origin && !/^\/[/\\]/.test(found) ? found : null;
  } catch {
    return null;
  }
}

/** Returns the address of the log-in page, which leads to this path in the end. */
export const loginPage = (path) => `/account/login?return_to=${encodeURIComponent(path)}`;
