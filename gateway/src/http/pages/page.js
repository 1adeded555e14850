"use strict";
// Sends a form's mutation with the token of the link, and shows the result.
const status = document.querySelector("[role=status]");
// Mails of an earlier release have the token in the query.
let token = new URLSearchParams(location.hash.slice(1) || location.search).get("token") ?? "";
// A page that a person leaves to log in keeps its token in this window, until it is used.
const keepsToken = Boolean(document.querySelector("main[data-keeps-token]"));
if (keepsToken) {
  if (token) sessionStorage.setItem(location.pathname, token);
  token = sessionStorage.getItem(location.pathname) ?? "";
}
// The token is a secret: it should not stay in the address bar or the history.
history.replaceState(null, "", location.pathname);

document.addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const button = form.querySelector("button");
  button.disabled = true;
  status.textContent = "…";
  try {
    const response = await fetch("/graphql", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ query: form.dataset.mutation, variables: { token, ...Object.fromEntries(new FormData(form)) } }),
    });
    const { errors } = await response.json();
    // Another browser than that of the registration has to prove who it is.
    const wanted = errors && form.elements[errors[0].extensions.field];
    if (wanted?.disabled) {
      wanted.disabled = false;
      wanted.parentElement.hidden = false;
      wanted.focus();
    }
    status.textContent = errors ? errors[0].message : form.dataset.done;
    form.hidden = !errors;
    if (keepsToken && !errors) sessionStorage.removeItem(location.pathname);
  } catch {
    status.textContent = "The server could not be reached. Please try again.";
  }
  button.disabled = false;
});
