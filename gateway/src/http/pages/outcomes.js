// How a log-in by another party can fail, and what a person can do then.

const FAILED = {
  declined: "The log-in was cancelled. Try again, or log in another way.",
  ended: "The log-in has taken too long, or was begun in another window. Please begin again.",
  unavailable: "The other party does not answer. Try again, or log in another way.",
  refused: "This log-in is not possible. Log in another way.",
  not_invited: "You need an invitation. Ask an administrator of the organization for one.",
  owner_invited: "You are invited as an owner. Open the link in the mail of the invitation.",
  limit_reached: "The organization has no seat left. Ask an administrator of it for one.",
  no_address: "The other party has no e-mail address of yours. Log in another way.",
  rate_limited: "There were too many attempts. Please wait a while, and try again.",
  session_ended: "Your session has ended meanwhile. Log in, and link again.",
  step_up_required: "This has taken too long. Link again, and prove once more that it is you.",
  identity_taken: "Another account has this log-in. Log in to that account, and remove it there first.",
  too_many_identities: "Your account has too many log-ins by other parties. Remove one first.",
  email_taken: "Another account has this e-mail address. Log in to it another way, and link this log-in there.",
};

/** Returns what a failure means, and the remedy. */
export const failure = (reason) => (Object.hasOwn(FAILED, reason) ? FAILED[reason] : FAILED.refused);
